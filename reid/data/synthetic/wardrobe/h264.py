"""What H.264 leaves of a picture: coded and decoded as a camera and its viewer would."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
import cv2
import numpy as np
import numpy.typing as npt

from reid.errors import ReidError

__all__ = ["through_h264"]

_ENCODER = "libx264"
_BLOCK = 16  # a macroblock's side
_CODERS = 64  # open at once: of each quantiser and size one
# One thread, and the same results on every processor. Every picture is a key frame of one quantiser,
# so as not to depend on those before it. Both entropy coders are without loss; the simpler one is faster.
_X264 = "keyint=1:scenecut=0:aq-mode=0:cabac=0:cpu-independent=1:log=-1"


@dataclass(frozen=True, slots=True, eq=False)
class _Coder:
    encoder: av.VideoCodecContext
    decoder: av.VideoCodecContext


@lru_cache(maxsize=_CODERS)
def _coder(width: int, height: int, quantiser: int) -> _Coder:
    try:
        encoder = av.CodecContext.create(_ENCODER, "w")
    except av.codec.codec.UnknownCodecError:
        raise ReidError(
            "PyAV here has no libx264, with which people are coded where h264 is above 0: install PyAV's own "
            "wheel (pip install av), or set h264 to 0"
        ) from None
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(encoder, av.VideoCodecContext) and isinstance(decoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {
        "preset": "superfast",
        "tune": "zerolatency",
        "qp": str(quantiser),
        "x264-params": _X264,
    }
    decoder.options = {"flags": "low_delay"}
    encoder.thread_count = decoder.thread_count = 1
    return _Coder(encoder, decoder)


def through_h264(
    image: npt.NDArray[np.uint8], quantiser: int, corner: tuple[int, int], room: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Code a picture as one key frame and decode it.

    Args:
        image: (H, W, 3) uint8 RGB, part of a wider frame.
        quantiser: 0, lossless, to 51.
        corner: column and row, 0 to 15, of its first pixel in the blocks of that frame.
        room: height and width that no picture is larger than; those that share it are coded fastest.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ReidError: PyAV cannot code H.264 here.
    """
    left, top = corner
    tall, wide = (-(-(side + _BLOCK) // 2) * 2 for side in room)
    rows, columns = image.shape[:2]
    frame = cv2.copyMakeBorder(
        image, top, tall - rows - top, left, wide - columns - left, cv2.BORDER_REPLICATE
    )
    coder = _coder(wide, tall, quantiser)
    sent = av.VideoFrame.from_ndarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
    (seen,) = (got for packet in coder.encoder.encode(sent) for got in coder.decoder.decode(packet))
    back = cv2.cvtColor(seen.to_ndarray(), cv2.COLOR_YUV2RGB_I420)
    return np.asarray(back[top : top + rows, left : left + columns], np.uint8)
