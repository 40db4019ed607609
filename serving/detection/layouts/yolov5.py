"""YOLOv5, v6 and v7 as their exporters write them: ``(N, rows, 5 + classes)`` or ``(rows, 5 + classes)``.

A row is centre, width and height in pixels of the input, objectness (always 1 in v6) and the classes' scores.
v5 and v7 have three rows for each cell of their strides, v6 has one.
"""

from serving.detection.layouts.answer import Answer, Layout, Pixels, Rows, from_centres

__all__ = ["YOLOV5"]


def _fits(answer: Answer) -> bool:
    table = answer.table()
    return table is not None and table.shape[2] > 5


def _rows(answer: Answer, index: int) -> Rows:
    table = answer.table()
    assert table is not None
    found = table[index]
    return Rows(found[:, :4], found[:, 5:], lambda boxes, at: from_centres(boxes), objectness=found[:, 4])


def _classes(answer: Answer) -> int:
    table = answer.table()
    assert table is not None
    return table.shape[2] - 5


YOLOV5 = Layout("yolov5", Pixels("centre"), _fits, _rows, _classes, nms=True)
