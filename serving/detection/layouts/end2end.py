"""YOLOv10 and YOLO26, and earlier ones exported with ``nms=True``: ``(N, rows, 6)``, nothing left to drop.

A row is xyxy in pixels of the input, confidence and class; rows beyond what was found are zeros.
"""

from serving.detection.layouts.answer import Answer, Layout, Pixels, Rows

__all__ = ["END2END"]


def _fits(answer: Answer) -> bool:
    table = answer.table()
    return table is not None and table.shape[2] == 6


def _rows(answer: Answer, index: int) -> Rows:
    table = answer.table()
    assert table is not None
    found = table[index]
    return Rows(found[:, :4], found[:, 4], lambda boxes, at: boxes, classes=found[:, 5])


END2END = Layout("end2end", Pixels("centre"), _fits, _rows, lambda answer: None, ordered=True)
