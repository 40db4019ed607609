"""The int8 file as TensorRT takes it: activations signed and around zero."""

import copy

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["signed"]

_UNSIGNED = {0, 128}


def signed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose uint8 activations are int8 with zero points of 0, the only form that TensorRT takes.

    Levels around 128 become the same levels around 0. Levels from 0 up lose every second one: 127 of them
    reach as far as 255 did. Graphs without uint8 levels come back as they were; so do levels around any other
    zero point, which TensorRT refuses in its own words.
    """
    proto = copy.deepcopy(proto)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    pairs = {
        tuple(node.input[1:3])
        for node in proto.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    for scale, zero in sorted(pair for pair in pairs if len(pair) == 2 and set(pair) <= set(tensors)):
        level = numpy_helper.to_array(tensors[zero])
        if level.dtype != np.uint8 or not set(level.reshape(-1).tolist()) <= _UNSIGNED:
            continue
        step = numpy_helper.to_array(tensors[scale])
        wider = np.where(level == 0, step * np.float32(255 / 127), step).astype(step.dtype)
        tensors[scale].CopyFrom(numpy_helper.from_array(wider, scale))
        tensors[zero].CopyFrom(numpy_helper.from_array(np.zeros_like(level, np.int8), zero))
    return proto
