"""The pictures that ``reid find`` is asked with, to one person's embedding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reid.embeddings import pool
from reid.errors import ReidError, UsageError
from reid.images import Image, read_image
from serving.cli.shared import print_warnings

if TYPE_CHECKING:
    from serving.job.afterwards.search import Seen

__all__ = ["Query", "parse_box", "query_of"]

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

_WIDE = 1.0  # width by height of a picture that is hardly one standing person cut out
_SURE = 0.3  # confidence of a person in a picture


@dataclass(frozen=True)
class Query:
    """Whom pictures show: the embedding (D,), what was embedded, and why others could not be read."""

    embedding: npt.NDArray[np.float32]
    pictures: tuple[Image, ...]
    unreadable: tuple[str, ...]


def parse_box(text: str | None) -> Box | None:
    """``"40,20,60,160"``, left, top, width and height, as corners.

    Raises:
        UsageError: it is not four whole numbers, or nothing is inside.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isascii() and part.isdecimal() and len(part) < 8 for part in parts):
        raise UsageError(f"--box is {text!r}: want LEFT,TOP,WIDTH,HEIGHT in pixels, as 40,20,60,160")
    left, top, width, height = map(int, parts)
    if not width or not height:
        raise UsageError(f"--box {text} is empty: want a width and a height")
    return left, top, left + width, top + height


def query_of(
    images: Sequence[Path],
    jobs: Sequence["Seen"],
    model: Path | None,
    backend: str,
    threads: int | None,
    box: Box | None,
    detector: Path | None,
) -> Query:
    """The pooled embedding of pictures of one person.

    Args:
        images: files or folders.
        jobs: looked into; their model embeds, and their detector's file finds people in pictures that show
            more than one standing person cut out.
        model: in place of the jobs'.
        backend: as of :func:`serving.runtime.load`, likewise ``threads``.
        box: of the person, in the one picture.
        detector: file of one, for all pictures; where None, that of the jobs, for wide ones.

    Raises:
        UsageError: a folder is a job's output, or a box is given for several pictures or lies outside.
        ReidError: no picture can be read, one shows nobody, or the model is another than the jobs'.
    """
    from serving.embedding.table import collect_images
    from serving.job.report.folders import is_output
    from serving.runtime import load

    embedder = load(model or jobs[0].model, backend, threads)
    if embedder.fingerprint != jobs[0].fingerprint:
        raise ReidError(
            f"{jobs[0].folder} was embedded by another model than {model or jobs[0].model}: name that "
            "one, or run the job again with this one"
        )
    for folder in images:
        if is_output(folder):  # its crops are of several people
            raise UsageError(f"{folder} is a job's output and no query: name it by --in {folder}")
    paths = collect_images(list(images), lambda line: print_warnings([line]))
    if box is not None and len(paths) != 1:
        raise UsageError(f"--box is of one picture, and {len(paths)} are named: name one")
    finder = _Finder(detector or next((job.detector for job in jobs if job.detector is not None), None))
    pictures: list[Image] = []
    unreadable: list[str] = []
    for path in paths:
        try:
            image = read_image(path)
        except ReidError as error:
            unreadable.append(str(error))
            continue
        place = box if box is not None else finder.place(path, image, always=detector is not None)
        pictures.append(image if place is None else _cut(path, image, place))
    if not pictures:
        raise ReidError(f"not one of the pictures can be read; the first: {unreadable[0]}")
    return Query(pool(embedder(pictures)), tuple(pictures), tuple(unreadable))


def _cut(path: Path, image: Image, box: Box) -> Image:
    height, width = image.shape[:2]
    left, top, right, bottom = box
    if left >= width or top >= height:
        raise UsageError(f"--box lies outside {path}, which is {width} wide and {height} high")
    return np.ascontiguousarray(image[top:bottom, left:right])


class _Finder:
    """Finds the person in a picture, by a detector's file that is opened when it is first needed."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._detect: Callable[[Image], list[Box]] | None = None if file is None else self._open

    def place(self, path: Path, image: Image, always: bool) -> Box | None:
        """The box of the largest person; None where the picture is taken as it is."""
        if not always and image.shape[1] <= _WIDE * image.shape[0]:
            return None
        if self._detect is None:
            way_out = "if it shows more than one person, say which by --box, or name a --detector"
            print_warnings([f"{path} is wider than high: {way_out}"])
            return None
        boxes = self._detect(image)
        if not boxes:
            raise ReidError(f"{path} shows nobody to {self._file}: cut the person out, or say where by --box")
        if len(boxes) > 1:
            others = "; ".join(_asked(one) for one in boxes[1:4]) + ("; ..." if len(boxes) > 4 else "")
            largest = f"looking for the largest, --box {_asked(boxes[0])}"
            print_warnings([f"{path} shows {len(boxes)} people: {largest}; others: {others}"])
        return boxes[0]

    def _open(self, image: Image) -> list[Box]:
        from serving.detection import NetworkDetector, open_model
        from serving.spec import DetectorSpec
        from serving.video import Frame

        spec = DetectorSpec(model=str(self._file))
        detector = NetworkDetector(open_model(str(self._file)), _SURE, spec.nms_iou)

        def detect(picture: Image) -> list[Box]:
            (found,) = detector.detect([Frame(1, 0.0, np.ascontiguousarray(picture[:, :, ::-1]))])
            height, width = picture.shape[:2]
            rows = np.clip(np.round(found.xyxy), 0, (width, height, width, height)).astype(int).tolist()
            boxes: list[Box] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in rows if x1 > x0 and y1 > y0]
            return sorted(boxes, key=lambda one: (one[2] - one[0]) * (one[3] - one[1]), reverse=True)

        self._detect = detect
        return detect(image)


def _asked(box: Box) -> str:
    left, top, right, bottom = box
    return f"{left},{top},{right - left},{bottom - top}"
