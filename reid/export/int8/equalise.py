"""Channels of unequal reach made equal before they are rounded with one scale (Nagel et al. 2019, "Data-free quantization", section 4.1).

A channel multiplied behind its convolution is divided again by the next convolution's weights: the function stays the same, but a
channel that would use few of the 127 levels uses them all. The paper takes both factors from the weights and replaces ReLU6 by ReLU, which
changes the function. Here the factors come from the activations themselves and are never below 1: a channel grows at most to what the
widest one of its layer reaches, so that the bound of ReLU6 cuts nothing that was seen on the calibration crops.
"""

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from reid.export.int8.walk import Tensors, attributes, constants, run_node, walk

__all__ = ["equalise"]

_RECTIFIERS = ("Relu", "Clip")  # both let a positive factor through: as it is, or up to a bound
_LARGEST = 8.0
_MARGIN = 1.05  # how far beyond what the calibration crops showed a channel may go before a bound cuts it


def equalise(proto: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> None:
    """Scale the channels between pairs of convolutions, in place.

    Args:
        proto: a float32 graph of ``export_onnx``.
        images: calibration crops, uint8 ``(N, height, width, 3)``.
    """
    graph = proto.graph
    values = constants(graph)
    pairs = _pairs(graph, values)
    state: Tensors = {graph.input[0].name: images, **values}
    reach: dict[str, npt.NDArray[np.float32]] = {}
    for node in walk(graph, state):
        state.update(run_node(node, state, proto.opset_import[0].version))
        if node.output[0] in pairs:
            reach[node.output[0]] = state[node.output[0]].max(axis=(0, 2, 3))
    for name, (before, behind) in pairs.items():
        factors = _factors(reach[name], depthwise=_is_depthwise(behind, values))
        for tensor in before.input[1:3]:
            values[tensor] = values[tensor] * factors.reshape(-1, *(1,) * (values[tensor].ndim - 1))
        # A depthwise convolution has one weight an input channel, in its first axis.
        axes = (-1, 1, 1, 1) if _is_depthwise(behind, values) else (1, -1, 1, 1)
        values[behind.input[1]] = values[behind.input[1]] / factors.reshape(axes)
    for tensor in graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))


def _factors(reach: npt.NDArray[np.float32], depthwise: bool) -> npt.NDArray[np.float32]:
    factors = np.clip(reach.max() / np.maximum(reach * _MARGIN, 1e-6), 1.0, _LARGEST)
    # A depthwise convolution has a weight scale of its own for each input channel, so that the factor costs nothing. Others round all
    # inputs of an output with one scale: half of the way, in powers, shares the error between activations and weights.
    return factors.astype(np.float32) if depthwise else np.sqrt(factors).astype(np.float32)


def _pairs(graph: onnx.GraphProto, values: Tensors) -> dict[str, tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Convolutions around a rectifier, by the name of the rectified tensor, where nothing else sees what lies between them."""
    producer = {name: node for node in graph.node for name in node.output}
    consumers = defaultdict(list)
    uses: dict[str, int] = defaultdict(int)
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node)
            uses[name] += 1
    outputs = {value.name for value in graph.output}
    found = {}
    for node in graph.node:
        before = producer.get(node.input[0]) if node.op_type in _RECTIFIERS else None
        behind = consumers[node.output[0]]
        if before is None or before.op_type != "Conv" or [one.op_type for one in behind] != ["Conv"]:
            continue
        if not _from_zero(node, values) or not (_groups(behind[0]) == 1 or _is_depthwise(behind[0], values)):
            continue
        own = [*before.input[1:3], behind[0].input[1]]
        alone = len(consumers[before.output[0]]) == 1 and not {before.output[0], node.output[0]} & outputs
        if alone and behind[0].input[0] == node.output[0] and all(uses[name] == 1 and name in values for name in own):
            found[node.output[0]] = (before, behind[0])
    return found


def _from_zero(node: onnx.NodeProto, values: Tensors) -> bool:
    """Whether a rectifier's lower bound is 0, which no factor moves."""
    if node.op_type == "Relu":
        return True
    low = values.get(node.input[1]) if len(node.input) > 1 else None
    return low is not None and not low.any()


def _groups(node: onnx.NodeProto) -> int:
    return int(attributes(node).get("group", 1))


def _is_depthwise(node: onnx.NodeProto, values: Tensors) -> bool:
    return _groups(node) > 1 and _groups(node) == len(values[node.input[1]])
