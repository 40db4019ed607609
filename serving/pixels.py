"""Pixels as decoders give them: nearly always 4:2:0, a luma plane and two of colour at half its width and height."""

import av
import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["is_plain", "planes_of", "upright"]

_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


def is_plain(frame: av.VideoFrame) -> bool:
    """Whether a decoded frame is 4:2:0 of limited range and even size, as nearly all footage is."""
    return frame.format.name == "yuv420p" and frame.color_range != _FULL_RANGE and frame.width % 2 == frame.height % 2 == 0


def upright(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """A decoded frame as it is to be seen: (H, W, 3) uint8 BGR."""
    # OpenCV converts the usual format three times as fast as the library; others are rare and left to the latter.
    plain = is_plain(frame)
    image: npt.NDArray[np.uint8] = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2BGR_I420) if plain else frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def planes_of(frame: av.VideoFrame) -> list[npt.NDArray[np.uint8]]:
    """Luma (H, W) and both colour planes (H / 2, W / 2) of a 4:2:0 frame, in its own memory."""
    return [np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
