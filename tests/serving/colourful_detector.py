"""A tiny network that really looks: it finds the striped people of tests by their colours, which the ground
has not.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.serving.tiny_footage import HEIGHT, PERSON, WIDTH

_STRIDE = 4
_WEAK, _STRONG = 50.0, 75.0  # mean colourfulness of a window: confidence 0 and 1


def colourful_detector(path: Path, person: tuple[int, int] = PERSON) -> Path:
    """A file of YOLOv8's layout for pictures of 320x240 and people of one size.

    Confidence is the mean difference of the largest and the smallest colour in a window of the size of a
    person, at its largest among its neighbours.
    """
    width, height = person
    rows, columns = HEIGHT // _STRIDE, WIDTH // _STRIDE
    y, x = np.mgrid[:rows, :columns] * _STRIDE + _STRIDE / 2
    boxes = np.stack([x.ravel(), y.ravel(), np.full(x.size, width), np.full(x.size, height)])[None]
    window = [height // _STRIDE | 1, width // _STRIDE | 1]
    pads = [window[0] // 2, window[1] // 2] * 2
    node = helper.make_node
    nodes = [
        node("ReduceMax", ["images"], ["most"], axes=[1], keepdims=1),
        node("ReduceMin", ["images"], ["least"], axes=[1], keepdims=1),
        node("Sub", ["most", "least"], ["colour"]),
        node("AveragePool", ["colour"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        node("AveragePool", ["small"], ["mean"], kernel_shape=window, pads=pads, count_include_pad=1),
        node("MaxPool", ["mean"], ["highest"], kernel_shape=[15, 7], pads=[7, 3, 7, 3]),
        node("Equal", ["mean", "highest"], ["peak"]),
        node("Cast", ["peak"], ["chosen"], to=TensorProto.FLOAT),
        node("Sub", ["mean", "weak"], ["above"]),
        node("Mul", ["above", "gain"], ["raw"]),
        node("Clip", ["raw", "zero", "one"], ["sure"]),
        node("Mul", ["sure", "chosen"], ["scores"]),
        node("Reshape", ["scores", "flat"], ["row"]),
        node("Concat", ["boxes", "row"], ["output0"], axis=1),
    ]
    constants = {
        "weak": np.float32(_WEAK / 255),
        "gain": np.float32(255 / (_STRONG - _WEAK)),
        "zero": np.float32(0),
        "one": np.float32(1),
        "flat": np.array([1, 1, rows * columns], np.int64),
        "boxes": boxes.astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "colourful",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, rows * columns])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
