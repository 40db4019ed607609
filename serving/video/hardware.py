"""Which decoder a camera's files get: NVIDIA's (``cuda``) or what VAAPI reaches (Intel, AMD), if the job asks
for it, or software.

Pictures come back into memory, so that everything after the decoder is the same. Whether this machine has
such hardware, and it gives the same pictures, is tried before it is used; what cannot be decoded so is
decoded in software, and said.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import av
import numpy as np

from reid.errors import ReidError
from serving.video.footage import Clip, Footage
from serving.video.opening import SOFTWARE, lacking, opened
from serving.video.pixels import orientation, upright

__all__ = ["with_decoder"]

_KINDS = ("cuda", "vaapi")  # in the order in which ``auto`` tries them
_FRAMES = 8  # that are compared
_SAME = 1.0  # grey levels, mean of a picture: rounding, and no other picture


def with_decoder(
    footage: Footage, wish: str, differs: Callable[[Clip, str], str] | None = None
) -> tuple[Footage, str]:
    """Footage whose files are decoded as wished: ``software``, a kind of hardware, or ``auto``; and what is
    to be said about it, '' for nothing. A file that the hardware does not take is decoded in software.

    ``differs``: of a file and a kind of hardware, why it is not taken; None: by trying.
    """
    if wish == SOFTWARE or footage.live:
        return footage, f"streams are decoded in software, not by {wish}" if wish != SOFTWARE else ""
    reasons: list[str] = []
    for kind in _KINDS if wish == "auto" else (wish,):
        reason = lacking(kind) or (differs or _differs)(footage.clips[0], kind)
        if not reason:
            clips = tuple(replace(clip, decoder=kind) for clip in footage.clips)
            return replace(footage, clips=clips), f"decoded by {kind}"
        reasons.append(f"not by {kind}: {reason}")
    return footage, f"decoded in software, {'; '.join(reasons)}"


def _differs(clip: Clip, kind: str) -> str:
    """Why a file is not decoded by a kind of hardware: its first frames are compared with software's."""
    try:
        with opened(clip.source, version=_version(clip), decoder=kind) as one:
            if one.decoder != kind:
                codec = one.stream.codec_context.name
                return f"there is no such hardware here, or it does not decode {codec}"
            by_hardware = list(islice(one.container.decode(one.stream), _FRAMES))
        with opened(clip.source, version=_version(clip)) as one:
            by_software = list(islice(one.container.decode(one.stream), _FRAMES))
    except (ReidError, av.FFmpegError, OSError) as error:
        return f"it fails ({type(error).__name__})"
    if len(by_hardware) < len(by_software):
        return "it gives fewer frames"
    if any(a.format.name == b.format.name for a, b in zip(by_hardware, by_software, strict=False)):
        return "it does not take this stream"  # and FFmpeg decoded it in software
    apart = max((_apart(a, b) for a, b in zip(by_hardware, by_software, strict=False)), default=0.0)
    return f"its pictures are others, by {apart:.1f} grey levels" if apart > _SAME else ""


def _apart(one: av.VideoFrame, other: av.VideoFrame) -> float:
    if (one.width, one.height, orientation(one)) != (other.width, other.height, orientation(other)):
        return float("inf")
    a, b = (upright(frame).astype(np.int16) for frame in (one, other))
    return float(np.abs(a - b).mean())


def _version(clip: Clip) -> str:
    return "" if clip.index is None else clip.index.version
