"""Pixels as decoders give them: nearly always 4:2:0, a luma plane and two of colour at half its width and
height.
"""

import math
import struct
from dataclasses import dataclass

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer

__all__ = ["Size", "is_plain", "orientation", "planes_of", "shown_size", "upright"]

_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
_MOST_STRETCH = 4.0  # a pixel further from a square than this is a header's mistake


@dataclass(frozen=True, slots=True)
class Size:
    """Of a picture as it is to be seen: upright, with square pixels."""

    width: int
    height: int


def is_plain(frame: av.VideoFrame) -> bool:
    """Whether a decoded frame is 4:2:0 of limited range and even size, as nearly all footage is."""
    return (
        frame.format.name == "yuv420p"
        and frame.color_range != _FULL_RANGE
        and frame.width % 2 == frame.height % 2 == 0
    )


def _is_half_planar(frame: av.VideoFrame) -> bool:
    """Whether a frame is as in :func:`is_plain`, but with its colours side by side, as hardware gives it."""
    return (
        frame.format.name == "nv12"
        and frame.color_range != _FULL_RANGE
        and frame.width % 2 == frame.height % 2 == 0
    )


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Quarter turns counter-clockwise that make a frame upright, and whether it is mirrored (left and right)
    before.
    """
    # Not ``frame.side_data``: that keeps what it makes, which refers to the frame. Each picture would lie in
    # memory until Python looks for circles, which after thousands of them was a gigabyte.
    data = SideDataContainer(frame)  # type: ignore[call-arg]  # the library's stub leaves its argument out
    if not len(data):
        return 0, False
    matrix = next((bytes(one) for one in data if one.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return 0, False
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    mirrored = a * d - b * c < 0
    angle = math.atan2(-b, -a) if mirrored else math.atan2(b, a)
    return round(-angle / (math.pi / 2)) % 4, mirrored


def shown_size(frame: av.VideoFrame, pixel_aspect: float) -> Size:
    """The size at which a frame is to be seen; ``pixel_aspect`` is a pixel's width over its height. The
    height is kept.
    """
    stretch = pixel_aspect if 1 / _MOST_STRETCH <= pixel_aspect <= _MOST_STRETCH else 1.0
    width, height = max(1, round(frame.width * stretch)), frame.height
    return Size(height, width) if orientation(frame)[0] % 2 else Size(width, height)


def upright(frame: av.VideoFrame, size: Size | None = None) -> npt.NDArray[np.uint8]:
    """A decoded frame as it is to be seen: (H, W, 3) uint8 BGR, scaled to ``size`` where it has another."""
    # OpenCV converts the usual format three times as fast as the library; others are rare and left to the
    # latter, on one thread: starting more for each frame takes longer than the frame.
    image: npt.NDArray[np.uint8]
    if is_plain(frame):
        image = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2BGR_I420)
    elif _is_half_planar(frame):
        image = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2BGR_NV12)
    else:
        image = frame.to_ndarray(format="bgr24", threads=1)
    turns, mirrored = orientation(frame)
    if turns or mirrored:
        image = np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, turns))
    if size is not None and image.shape[:2] != (size.height, size.width):
        image = np.asarray(
            cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    return image


def planes_of(frame: av.VideoFrame) -> list[npt.NDArray[np.uint8]]:
    """Luma (H, W) and both colour planes (H / 2, W / 2) of a 4:2:0 frame, in its own memory."""
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes
    ]
