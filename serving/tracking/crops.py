"""Which crops of a tracklet are worth embedding: large, sharp, whole, alone, and spread over the tracklet's
time.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Crop", "CropKeeper", "crop_quality", "cut"]

# width, height at which sharpness is measured, so that it does not depend on the person's size
_PATCH = (
    64,
    128,
)
_SHARP = 300.0  # Laplacian variance that counts half
_BORDER = 2.0  # pixels


@dataclass(frozen=True, slots=True)
class Crop:
    """A person cut out of a frame: ``image`` (h, w, 3) uint8 BGR, ``box`` xyxy in the frame, ``quality`` in
    0..1.
    """

    frame: int
    quality: float
    box: tuple[float, float, float, float]
    image: npt.NDArray[np.uint8]


def crop_quality(image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """How well each of the boxes (N, 4) xyxy of one frame (H, W, 3) shows a person: (N,) in 0..1, a product
    of five factors.

    Size grows up to 128 pixels of height, sharpness is the Laplacian's variance, a box at the picture's
    border is cut off, a box that others cover shows somebody else too, and a box that is not upright is not
    one standing person.
    """
    if not len(boxes):
        return np.zeros(0)
    height, width = image.shape[:2]
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    size = np.minimum(h / 128.0, 1.0) ** 0.5
    at_border = (
        (boxes[:, 0] <= _BORDER)
        | (boxes[:, 1] <= _BORDER)
        | (boxes[:, 2] >= width - _BORDER)
        | (boxes[:, 3] >= height - _BORDER)
    )
    alone = 1.0 - np.minimum(_covered(boxes), 0.9)
    upright = np.where((h >= 1.2 * w) & (h <= 5.0 * w), 1.0, 0.4)
    variance = np.asarray([_sharpness(image, box) for box in boxes])
    score: npt.NDArray[np.float64] = (
        size * alone * upright * np.where(at_border, 0.4, 1.0) * variance / (variance + _SHARP)
    )
    return score


class CropKeeper:
    """The best crop of each of at most ``count`` equal stretches of a tracklet, in memory that does not grow
    with its length.

    Stretches are ``width`` frames long; when there are too many, neighbours are merged and the width doubles.
    """

    def __init__(self, count: int, max_height: int) -> None:
        self.count, self.max_height = count, max_height
        self._width = 1
        self._best: dict[int, Crop] = {}

    def offer(
        self, frame: int, quality: float, box: npt.NDArray[np.float32], image: npt.NDArray[np.uint8]
    ) -> None:
        """Take the crop of ``box`` out of ``image`` if it is the best of its stretch."""
        stretch = frame // self._width
        rival = self._best.get(stretch)
        if rival is not None and rival.quality >= quality:
            return
        self._best[stretch] = Crop(frame, quality, tuple(map(float, box)), cut(image, box, self.max_height))  # type: ignore[arg-type]
        while len(self._best) > self.count:
            self._merge()

    def crops(self) -> list[Crop]:
        """What was kept, in order of time."""
        return [self._best[stretch] for stretch in sorted(self._best)]

    def _merge(self) -> None:
        self._width *= 2
        merged: dict[int, Crop] = {}
        for crop in self._best.values():
            stretch = crop.frame // self._width
            if stretch not in merged or crop.quality > merged[stretch].quality:
                merged[stretch] = crop
        self._best = merged


def cut(image: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], max_height: int) -> npt.NDArray[np.uint8]:
    """A copy of the part of ``image`` inside ``box``, at least one pixel, shrunk to ``max_height`` if it is
    higher.
    """
    part = _inside(image, box)
    if part.shape[0] > max_height:
        shrunk = (max(1, round(part.shape[1] * max_height / part.shape[0])), max_height)
        return cv2.resize(part, shrunk, interpolation=cv2.INTER_AREA)
    return part.copy()


def _inside(image: npt.NDArray[np.uint8], box: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    x0, y0 = min(int(max(box[0], 0)), width - 1), min(int(max(box[1], 0)), height - 1)
    x1, y1 = max(int(np.ceil(min(box[2], width))), x0 + 1), max(int(np.ceil(min(box[3], height))), y0 + 1)
    return image[y0:y1, x0:x1]


def _covered(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """For each box the largest share of it that one other box covers."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    np.fill_diagonal(shared, 0)
    area = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1.0)
    return np.asarray(shared.max(axis=1) / area, np.float64)


def _sharpness(image: npt.NDArray[np.uint8], box: npt.NDArray[np.float32]) -> float:
    patch = cv2.resize(_inside(image, box), _PATCH, interpolation=cv2.INTER_AREA)
    edges = cv2.Laplacian(cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY), cv2.CV_16S)
    return float(cv2.meanStdDev(edges)[1][0, 0]) ** 2
