"""Pictures put into a network's input, and boxes brought back from there into the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from serving.detection.layouts import Pixels

__all__ = ["Placed", "blob_of", "place"]

_GREY = 114  # what YOLO's letterbox is filled up with
Boxes = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """Where a picture lies in an input of ``height`` by ``width``: from ``left`` and ``top`` on, in a size
    of its own there; and the size that it has.
    """

    height: int
    width: int
    left: int
    top: int
    inner: tuple[int, int]  # height, width
    picture: tuple[int, int]

    def back(self, boxes: Boxes) -> Boxes:
        """Boxes (N, 4) xyxy in pixels of the input as those of the picture."""
        offset = np.array([self.left, self.top] * 2, np.float32)
        ratio = [self.picture[1] / self.inner[1], self.picture[0] / self.inner[0]] * 2
        return ((boxes - offset) * np.array(ratio, np.float32)).astype(np.float32)


def place(picture: tuple[int, int], whole: tuple[int, int], way: str, multiple: int | None = None) -> Placed:
    """Find the place of a picture.

    Args:
        picture: height and width.
        whole: height and width of the input that the picture must fit.
        way: see ``Pixels.place``.
        multiple: leave padding out down to the smallest input whose sides are multiples of this; None: the
            input is the whole one.
    """
    if way == "stretch":
        return Placed(*whole, 0, 0, whole, picture)
    scale = min(whole[0] / picture[0], whole[1] / picture[1])
    inner = (max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale)))
    size = whole
    if multiple is not None:
        rows, columns = (-(-side // multiple) * multiple for side in inner)
        size = (min(rows, whole[0]), min(columns, whole[1]))
    if way == "corner":
        return Placed(*size, 0, 0, inner, picture)
    return Placed(*size, (size[1] - inner[1]) // 2, (size[0] - inner[0]) // 2, inner, picture)


def _resized(image: Image, size: tuple[int, int], smooth: bool) -> Image:
    if smooth and size != image.shape[:2]:
        return np.asarray(Pillow.fromarray(image).resize(size[::-1], Pillow.Resampling.BILINEAR))
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def blob_of(images: Sequence[Image], placed: Placed, pixels: Pixels, dtype: str) -> npt.NDArray[np.generic]:
    """The network's input for pictures of one size.

    Args:
        images: N of (H, W, 3) uint8, BGR.
        placed: where each goes.
        pixels: how.
        dtype: of the input; uint8 is given the pixels as they are, the file then has the normalisation.

    Returns:
        (N, 3, height, width).
    """
    plain = dtype == "uint8"
    blob = np.empty((len(images), 3, placed.height, placed.width), np.uint8 if plain else np.float32)
    inner = (
        slice(placed.top, placed.top + placed.inner[0]),
        slice(placed.left, placed.left + placed.inner[1]),
    )
    padded = placed.inner != (placed.height, placed.width)
    for picture, image in zip(blob, images, strict=True):
        # Planes of bytes first, widened while they are copied: less than half the time of doing it pixel by
        # pixel.
        planes = cv2.split(_resized(image, placed.inner, pixels.smooth))
        ordered = planes if pixels.colour == "bgr" else planes[::-1]
        for target, plane, mean, std in zip(picture, ordered, pixels.mean, pixels.std, strict=True):
            gain, offset = (1.0, 0.0) if plain else (pixels.scale / std, -mean / std)
            if padded:
                target[:] = _GREY * gain + offset
            if gain == 1 and offset == 0:
                target[inner] = plane
                continue
            np.multiply(plane, np.float32(gain), out=target[inner])
            if offset:
                target[inner] += np.float32(offset)
    return blob if dtype in ("uint8", "float32") else blob.astype(dtype)
