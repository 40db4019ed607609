"""What a network answers, and what a layout makes of it: boxes, each with how sure it is of which class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "IMAGENET",
    "Answer",
    "Floats",
    "Integers",
    "Layout",
    "Pixels",
    "Rows",
    "from_centres",
    "grid_rows",
]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Answer:
    """The outputs of one inference by name, in the file's order, and the input's height, width and number of
    pictures.
    """

    outputs: dict[str, npt.NDArray[Any]]
    height: int
    width: int
    count: int

    def table(self) -> Floats | None:
        """The output of rows or columns of numbers, (N, rows, columns); None where there is none.

        What is left of feature maps, masks and the like beside it (four or five axes) is passed over; a table
        without the axis of pictures gets it.
        """
        flat = [one for one in self.outputs.values() if one.ndim in (2, 3)]
        if not flat:
            return None
        table: Floats = flat[0] if flat[0].ndim == 3 else flat[0][None]
        return table if len(table) == self.count else None

    def pair(self) -> tuple[Floats, Floats] | None:
        """Boxes (N, M, 4) and the scores (N, M, C) of as many rows; None where the outputs are others."""
        tables = {name: one for name, one in self.outputs.items() if one.ndim == 3}
        if len(tables) != 2:
            return None
        named = [name for name in tables if "box" in name.lower() or name.lower() == "dets"]
        boxes = named[0] if len(named) == 1 else next((n for n, t in tables.items() if t.shape[2] == 4), "")
        scores = next((name for name in tables if name != boxes), "")
        if boxes not in tables or tables[boxes].shape[2] != 4:
            return None
        pair = tables[boxes], tables[scores]
        return pair if pair[0].shape[:2] == pair[1].shape[:2] else None


@dataclass(frozen=True)
class Rows:
    """The boxes of one picture, before any is chosen.

    Attributes:
        boxes: (M, 4) as the file gives them.
        scores: (M, C), of each class; or (M,), of the row's own class.
        corners: makes (K, 4) xyxy in pixels of the input from K of ``boxes`` and their places in it.
        classes: (M,), where each row has one class.
        objectness: (M,), by which scores are multiplied.
        logits: scores stand before the sigmoid.
    """

    boxes: Floats
    scores: Floats
    corners: Callable[[Floats, Integers], Floats]
    classes: npt.NDArray[Any] | None = None
    objectness: Floats | None = None
    logits: bool = False

    def confidence(self, number: int) -> Floats:
        """How sure each row is of class ``number``: (M,), from 0 to 1."""
        if self.classes is not None:
            return np.where(self.classes.astype(np.int64) == number, self.scores, 0).astype(np.float32)
        return self._sure(self.scores[:, number])

    def others(self, number: int, least: float) -> set[int]:
        """Classes other than ``number`` of which some row is sure by ``least``."""
        if self.classes is not None:
            found = self.classes[self.scores >= least].astype(np.int64)
        else:
            best = self.scores.argmax(axis=1)
            found = best[self._sure(self.scores.max(axis=1)) >= least]
        return set(np.unique(found).tolist()) - {number}

    def _sure(self, scores: Floats) -> Floats:
        sure = np.asarray(scores, np.float32)
        if self.logits:
            sure = (1 / (1 + np.exp(-np.clip(sure, -80, 80)))).astype(np.float32)
        return sure if self.objectness is None else (sure * self.objectness).astype(np.float32)


@dataclass(frozen=True)
class Pixels:
    """How a picture is put to the network: (pixel * scale - mean) / std, channels in ``colour``'s order.

    ``place``: ``corner`` and ``centre`` keep the proportions and fill up with grey (114) right and below, or
    all around; ``stretch`` does not keep them. ``smooth``: what is made smaller is averaged first, as Pillow
    does and torchvision's ``Resize`` of its pictures; others take the four nearest pixels, as OpenCV does.
    """

    place: Literal["corner", "centre", "stretch"]
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    smooth: bool = False


@dataclass(frozen=True)
class Layout:
    """How a family of detectors writes its answers.

    Attributes:
        name: in a job, and printed.
        pixels: how its pictures are prepared.
        fits: whether an answer can be read so.
        rows: of picture number ``index`` of an answer.
        classes: how many the file has; None where the answer does not say.
        person: which class people are, for so many classes.
        nms: whether boxes of one person still cover each other.
        ordered: the rows come in order of confidence, so that a small difference may change their places.
    """

    name: str
    pixels: Pixels
    fits: Callable[[Answer], bool]
    rows: Callable[[Answer, int], Rows]
    classes: Callable[[Answer], int | None]
    person: Callable[[int | None], int] = lambda classes: 0
    nms: bool = False
    ordered: bool = False


def from_centres(boxes: Floats) -> Floats:
    """Boxes (K, 4) of centre, width and height as xyxy."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def grid_rows(answer: Answer) -> tuple[int, int, int]:
    """Cells over the input: of strides 8, 16 and 32; of 64 too; of 4 to 32."""
    four, *counts = ((answer.height // stride) * (answer.width // stride) for stride in (4, 8, 16, 32, 64))
    return sum(counts[:3]), sum(counts), four + sum(counts[:3])
