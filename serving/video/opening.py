"""Containers opened and closed: every way into FFmpeg goes through here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from reid.addresses import is_url, redacted
from reid.errors import ReidError
from serving.protocols import container_options, is_playlist, scheme_problem

__all__ = ["Opened", "no_log_callback", "opened"]

_OPEN_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Opened:
    """A container, its video stream, and what is to be said about the choice of it ('' for nothing)."""

    container: Any
    stream: Any
    note: str


def no_log_callback() -> None:
    """Take back whatever callback FFmpeg's messages go to; nothing of them is printed.

    A callback of PyAV's logging takes Python's lock in FFmpeg's decoder threads, and a container is closed
    with that lock held while those threads are waited for: a message at that moment stops the process for
    ever (PyAV #751, #909, #2276). FFmpeg's own callback would print addresses with their passwords. Some
    libraries set one when they are imported (torchvision did for years), so this is done again at each
    opening and closing.
    """
    av.logging.set_level(None)


no_log_callback()


@contextmanager
def opened(source: str, timeout_s: float = _OPEN_TIMEOUT_S) -> Iterator[Opened]:
    """A container with a video stream that has a decoder; closed when the block ends.

    An address that gives nothing for ``timeout_s`` is an error. Of several video streams it is the one
    with the largest picture; a cover picture is none.

    Raises:
        ReidError: the source is missing, empty, no video, of an unknown codec, or an address of a protocol
            that is not allowed.
    """
    container = _open(source, timeout_s)
    try:
        stream, note = _video_stream(container, redacted(source))
        stream.thread_type = "AUTO"
        yield Opened(container, stream, note)
    finally:
        no_log_callback()
        container.close()


def _open(source: str, timeout_s: float) -> Any:
    name = redacted(source)
    address = source
    if is_url(source):
        problem = scheme_problem(source)
        if problem:
            raise ReidError(f"video {name}: {problem}")
    else:
        path = Path(source)
        if not path.is_file():
            raise ReidError(f"video {name} does not exist: check the path")
        if path.stat().st_size == 0:
            raise ReidError(f"video {name} is empty (0 bytes): copy it again")
        if is_playlist(path):
            raise ReidError(
                f"video {name} is a playlist or script, which may lead to other files and hosts: name "
                "the videos themselves"
            )
        address = f"file:{source}"  # with the protocol in front, a colon in a name is no protocol
    no_log_callback()
    try:
        # The times as they stand in the file: FFmpeg's repair of clocks that turn over takes one that starts
        # again for such a one.
        settings = container_options(source) | {"correct_ts_overflow": "0"}
        return av.open(
            address,
            container_options=settings,
            metadata_errors="replace",
            timeout=timeout_s if is_url(source) else None,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        # The library's own message repeats the address.
        reason = getattr(error, "strerror", None) or type(error).__name__
        hint = (
            "check the address and that the camera is on"
            if is_url(source)
            else "it is cut off, damaged or no video; copy it again"
        )
        raise ReidError(f"video {name} cannot be opened ({reason}): {hint}") from None


def _video_stream(container: Any, name: str) -> tuple[Any, str]:
    streams = [
        one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"}) or ["nothing"]
        raise ReidError(f"video {name} holds no picture, only {', '.join(kinds)}: name a file with video")
    usable = [stream for stream in streams if stream.codec_context is not None]
    if not usable:
        raise ReidError(f"video {name}: there is no decoder for its codec; convert it to H.264")
    best = max(usable, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    if len(streams) == 1:
        return best, ""
    size = f"{best.codec_context.width}x{best.codec_context.height}"
    return best, f"video {name} holds {len(streams)} pictures: the largest is used, {size}"
