"""YOLOX (Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021", section 2.1: anchor-free, decoupled head).

``(N, cells, 5 + classes)``: a row for each cell of strides 8, 16 and 32 with the centre's way from the cell's
corner in cells, the logarithms of width and height in cells, objectness and the classes' scores. Its exporter
can put the decoding into the file (``--decode_in_inference``): centre, width and height are in pixels then.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from serving.detection.layouts.answer import (
    Answer,
    Floats,
    Integers,
    Layout,
    Pixels,
    Rows,
    from_centres,
    grid_rows,
)

__all__ = ["DECODED", "YOLOX", "is_decoded"]

STRIDES = (8, 16, 32)


def is_decoded(answer: Answer) -> bool:
    """Whether the rows' first two numbers are places in the picture rather than ways inside a cell."""
    table = answer.table()
    assert table is not None
    cells, stride = cells_of(answer.height, answer.width)
    centres = table[0, :, :2]
    from_own_cell = np.abs(centres / stride - cells - 0.5)
    return bool(np.median(from_own_cell) < np.median(np.abs(centres - 0.5)))


@lru_cache(maxsize=16)
def cells_of(height: int, width: int) -> tuple[Floats, Floats]:
    """Column and row of each cell (M, 2), and its stride (M, 1), in the order of the file's rows."""
    cells, steps = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _fits(answer: Answer) -> bool:
    table = answer.table()
    return table is not None and table.shape[1] == grid_rows(answer)[0] and table.shape[2] > 5


def _rows(answer: Answer, index: int) -> Rows:
    table = answer.table()
    assert table is not None
    cells, stride = cells_of(answer.height, answer.width)

    def corners(boxes: Floats, at: Integers) -> Floats:
        centres = (boxes[:, :2] + cells[at]) * stride[at]
        half = np.exp(boxes[:, 2:]) * stride[at] / 2
        return np.concatenate([centres - half, centres + half], axis=1)

    found = table[index]
    return Rows(found[:, :4], found[:, 5:], corners, objectness=found[:, 4])


def _decoded_rows(answer: Answer, index: int) -> Rows:
    return replace(_rows(answer, index), corners=lambda boxes, at: from_centres(boxes))


def _classes(answer: Answer) -> int:
    table = answer.table()
    assert table is not None
    return table.shape[2] - 5


YOLOX = Layout("yolox", Pixels("corner", "bgr", 1.0), _fits, _rows, _classes, nms=True)
DECODED = replace(YOLOX, rows=_decoded_rows)
