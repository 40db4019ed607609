"""Detection transformers, whose boxes do not cover each other.

``detr``: boxes (N, M, 4) of centre, width and height relative to the picture and logits (N, M, classes) as
two outputs: RT-DETR and D-FINE as ``transformers`` has them. ``rfdetr``: RF-DETR's own exporter writes the
same under the names ``dets`` and ``labels``, takes pictures with ImageNet's mean and deviation, and numbers
COCO's classes as the data set does, a person is 1. ``rtdetr``: RT-DETR by Ultralytics' exporter, one output
(N, M, 4 + classes), scores after the sigmoid.
"""

from dataclasses import replace

import numpy as np

from serving.detection.layouts.answer import (
    IMAGENET,
    Answer,
    Floats,
    Layout,
    Pixels,
    Rows,
    from_centres,
)

__all__ = ["DETR", "RFDETR", "RTDETR", "is_relative", "is_rfdetr"]

_RELATIVE = 1.5  # boxes may reach beyond the picture a little
_COCO_IDS = 90  # of the data set's own numbering, with gaps: 1 to 90


def is_rfdetr(answer: Answer) -> bool:
    """Whether the outputs have the names of RF-DETR's exporter."""
    return {"dets", "labels"} <= set(answer.outputs)


def is_relative(answer: Answer) -> bool:
    """Whether all boxes have an extent, and no number is larger than those of a relative box or a score."""
    table = answer.table()
    return table is not None and bool((table[..., 2:4] > 0).all() and (np.abs(table) <= _RELATIVE).all())


def _pair(answer: Answer) -> tuple[Floats, Floats]:
    pair = answer.pair()
    assert pair is not None
    return pair


def _relative(answer: Answer, boxes: Floats, scores: Floats, logits: bool) -> Rows:
    size = np.array([answer.width, answer.height] * 2, np.float32)
    return Rows(boxes, scores, lambda chosen, at: from_centres(chosen) * size, logits=logits)


def _rows(answer: Answer, index: int) -> Rows:
    boxes, logits = _pair(answer)
    return _relative(answer, boxes[index], logits[index], True)


def _joined(answer: Answer, index: int) -> Rows:
    table = answer.table()
    assert table is not None
    return _relative(answer, table[index, :, :4], table[index, :, 4:], False)


def _joined_fits(answer: Answer) -> bool:
    table = answer.table()
    return answer.pair() is None and table is not None and table.shape[2] > 4


def _joined_classes(answer: Answer) -> int:
    table = answer.table()
    assert table is not None
    return table.shape[2] - 4


DETR = Layout(
    "detr",
    Pixels("stretch", smooth=True),
    lambda answer: answer.pair() is not None,
    _rows,
    lambda answer: _pair(answer)[1].shape[2],
)
RFDETR = replace(
    DETR,
    name="rfdetr",
    pixels=Pixels("stretch", mean=IMAGENET[0], std=IMAGENET[1]),
    person=lambda classes: 1 if classes is not None and classes >= _COCO_IDS else 0,
)
RTDETR = replace(
    DETR, name="rtdetr", pixels=Pixels("stretch"), fits=_joined_fits, rows=_joined, classes=_joined_classes
)
