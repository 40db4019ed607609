"""MOTChallenge text files: one box a line, ``frame, id, x, y, w, h, confidence, ...``, frames counted from
1. Torch-free.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from reid.files import read_text

__all__ = ["PEDESTRIAN", "MotTable", "mot_rows", "read_mot"]

PEDESTRIAN = 1
"""Of the classes of MOT16 and later."""
_WITH_CLASS = 9  # numbers of a line that tells class and visibility
_LARGEST = 2**31  # of any number: no frame, identity or pixel has a larger one


@dataclass(frozen=True)
class MotTable:
    """Rows of a file, in its order: ``frame (N,)``, ``id (N,)`` int64, ``xyxy (N, 4)`` float32 pixels,
    ``confidence (N,)``.
    """

    frame: npt.NDArray[np.int64]
    id: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, mask: npt.NDArray[np.bool_]) -> "MotTable":
        """The rows where ``mask`` holds."""
        return MotTable(self.frame[mask], self.id[mask], self.xyxy[mask], self.confidence[mask])

    def by_frame(self) -> dict[int, "MotTable"]:
        """The rows of each frame that has any."""
        order = np.argsort(self.frame, kind="stable")
        numbers, starts = np.unique(self.frame[order], return_index=True)
        groups = np.split(order, starts[1:])
        tables = (
            MotTable(self.frame[g], self.id[g], self.xyxy[g], self.confidence[g]) for g in groups if len(g)
        )
        return dict(zip(numbers.tolist(), tables, strict=True))


def read_mot(path: Path | str) -> MotTable:
    """Read a truth, detection or result file.

    Raises:
        UsageError, ReidError: as :func:`mot_rows`.
    """
    rows = mot_rows(path)
    corner = rows[:, 2:4]
    return MotTable(
        rows[:, 0].astype(np.int64),
        rows[:, 1].astype(np.int64),
        np.column_stack([corner, corner + rows[:, 4:6]]).astype(np.float32),
        rows[:, 6].astype(np.float32),
    )


def mot_rows(path: Path | str) -> npt.NDArray[np.float64]:
    """The lines of a file (N, 9): ``frame, id, x, y, w, h, confidence, class, visibility``, each 1 where the
    line does not tell it.

    Lines of nine numbers tell class and visibility (MOT16 and later, class 1 being a pedestrian); those of
    ten have places in 3D there (MOT15).

    Raises:
        UsageError: it does not exist.
        ReidError: a line is not at least six numbers, or frames are not counted from 1.
    """
    rows: list[tuple[float, ...]] = []
    text = read_text(path, "MOTChallenge file")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = tuple(float(part) for part in line.replace(",", " ").split())
        except ValueError:
            values = ()
        if (
            len(values) < 6
            or not np.isfinite(values).all()
            or values[0] < 1
            or max(map(abs, values)) >= _LARGEST
        ):
            raise ReidError(
                f"MOTChallenge file {path}, line {number}: want 'frame,id,x,y,w,h,confidence' with "
                "frames from 1"
            )
        told = values if len(values) == _WITH_CLASS else values[:7]
        rows.append(told + (1.0,) * (_WITH_CLASS - len(told)))
    return np.asarray(rows, np.float64).reshape(-1, _WITH_CLASS)
