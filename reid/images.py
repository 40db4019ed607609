"""Image files as training and serving both see them: one decoder, one rule of resizing. Torch-free."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reid.errors import ReidError

__all__ = ["Image", "read_image", "resize"]

Image = npt.NDArray[np.uint8]  # (h, w, 3) RGB


def read_image(path: Path) -> Image:
    """An image file as (h, w, 3) uint8 RGB.

    Raises:
        ReidError: the file cannot be read or is not an image.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ReidError(f"image {path} is a device or a pipe: name a file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReidError(f"image {path} cannot be read ({error.strerror}): check the path") from error
    if not data:
        raise ReidError(f"image {path} is empty: remove it or restore it")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ReidError(f"image {path} cannot be decoded ({error.err}): remove it or restore it") from error
    if image is None:
        raise ReidError(f"image {path} is not an image: remove it or restore it")
    return image


def resize(image: Image, height: int, width: int, out: Image | None = None) -> Image:
    """Resize: area averaging when both sides shrink, linear otherwise. A model sees in service what it saw in training.

    Written into ``out`` (height, width, 3) where given, which must be contiguous.
    """
    if image.shape[:2] == (height, width):
        if out is None:
            return image
        out[:] = image
        return out
    shrinks = image.shape[0] > height and image.shape[1] > width
    return cv2.resize(image, (width, height), dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
