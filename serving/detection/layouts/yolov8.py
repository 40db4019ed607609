"""YOLOv8, v9, 11 and 12, and YOLO26 exported with ``end2end=False``: ``(N, 4 + classes, cells)``.

A column is centre, width and height in pixels of the input and the classes' scores; there is no objectness.
Some converters turn the table; it has more cells than numbers a cell either way.
"""

from serving.detection.layouts.answer import Answer, Floats, Layout, Pixels, Rows, from_centres

__all__ = ["YOLOV8"]


def _upright(answer: Answer) -> Floats | None:
    """(N, cells, 4 + classes)."""
    table = answer.table()
    if table is None:
        return None
    return table.transpose(0, 2, 1) if table.shape[1] < table.shape[2] else table


def _fits(answer: Answer) -> bool:
    table = _upright(answer)
    return table is not None and table.shape[2] > 4


def _rows(answer: Answer, index: int) -> Rows:
    table = _upright(answer)
    assert table is not None
    found = table[index]
    return Rows(found[:, :4], found[:, 4:], lambda boxes, at: from_centres(boxes))


def _classes(answer: Answer) -> int:
    table = _upright(answer)
    assert table is not None
    return table.shape[2] - 4


YOLOV8 = Layout("yolov8", Pixels("centre"), _fits, _rows, _classes, nms=True)
