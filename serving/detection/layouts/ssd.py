"""SSD of the Open Model Zoo, and whatever ends in OpenVINO's DetectionOutput: ``(1, 1, rows, 7)``.

A row is the picture's number (-1 after the last), class (0 is the background), confidence and xyxy relative
to the picture.
"""

import numpy as np

from serving.detection.layouts.answer import Answer, Layout, Pixels, Rows

__all__ = ["SSD"]


def _fits(answer: Answer) -> bool:
    shapes = [one.shape for one in answer.outputs.values()]
    return len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][:2] == (1, 1) and shapes[0][3] == 7


def _rows(answer: Answer, index: int) -> Rows:
    (output,) = answer.outputs.values()
    found = output[0, 0]
    found = found[found[:, 0] == index]
    size = np.array([answer.width, answer.height] * 2, np.float32)
    return Rows(found[:, 3:], found[:, 2], lambda boxes, at: boxes * size, classes=found[:, 1])


SSD = Layout(
    "ssd",
    Pixels("stretch", "bgr", 1.0),
    _fits,
    _rows,
    lambda answer: None,
    person=lambda classes: 1,
    ordered=True,
)
