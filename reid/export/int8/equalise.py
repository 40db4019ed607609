"""Channels of unequal reach made equal before they are rounded with one scale (Nagel et al. 2019, "Data-free
quantization", section 4.1).

A channel multiplied behind its convolution is divided again by the next convolution's weights: the function
stays the same, but a channel that would use few of the 255 levels uses more of them. The paper does so for
two convolutions with a ReLU between them. Here all convolutions that write to one stream, and all that read
it, share the factors: also where nothing lies between two of them, and along residual sums, whose branches
must agree.

The paper takes both factors from the weights and replaces ReLU6 by ReLU, which changes the function. Here the
factors come from the activations themselves and are never below 1: a channel grows at most to what the widest
one of its stream reaches, so that the bound of ReLU6 cuts nothing that was seen on the calibration crops.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from reid.export.int8.walk import Tensors, attributes, constants, run_node, walk

__all__ = ["equalise"]

# what lets a positive factor of a channel through: as it is, or up to a bound
_LINKS = (
    "Relu",
    "Clip",
    "MaxPool",
    "Add",
)
_LARGEST = 8.0
_SHARE = 0.75
_MARGIN = 1.05  # how far beyond what the calibration crops showed a channel may go before a bound cuts it


@dataclass
class _Stream:
    """Tensors whose channels must keep one factor, and the convolutions around them."""

    writers: list[onnx.NodeProto] = field(default_factory=list)
    readers: list[onnx.NodeProto] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)  # what is rounded, or bounded
    bound: float = np.inf


def equalise(proto: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> None:
    """Scale the channels of each stream between convolutions, in place.

    Args:
        proto: a float32 graph of ``export_onnx``.
        images: calibration crops, uint8 ``(N, height, width, 3)``.
    """
    graph = proto.graph
    values = constants(graph)
    streams = list(_streams(graph, values))
    wanted = {name for stream in streams for name in stream.measured}
    state: Tensors = {graph.input[0].name: images, **values}
    reach: dict[str, npt.NDArray[np.float32]] = {}
    for node in walk(graph, state):
        state.update(run_node(node, state, proto.opset_import[0].version))
        if node.output[0] in wanted:
            reach[node.output[0]] = np.abs(state[node.output[0]]).max(axis=(0, 2, 3))
    for stream in streams:
        factors = _factors(np.max([reach[name] for name in stream.measured], axis=0), stream, values)
        for node in stream.writers:
            for name in node.input[1:3]:
                values[name] = values[name] * factors.reshape(-1, *(1,) * (values[name].ndim - 1))
        for node in stream.readers:
            # A depthwise convolution has one weight an input channel, in its first axis.
            axes = (-1, 1, 1, 1) if _is_depthwise(node, values) else (1, -1, 1, 1)
            values[node.input[1]] = values[node.input[1]] / factors.reshape(axes)
    for tensor in graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))


def _factors(reach: npt.NDArray[np.float32], stream: _Stream, values: Tensors) -> npt.NDArray[np.float32]:
    """What each channel is multiplied by, ``(channels,)``, of how far it reaches."""
    factors = np.clip(min(reach.max(), stream.bound) / np.maximum(reach * _MARGIN, 1e-6), 1.0, _LARGEST)
    # A depthwise convolution has a weight scale of its own for each input channel, so that the factor costs
    # nothing. Others round all inputs of an output with one scale: part of the way, in powers, shares the
    # error between activations and weights.
    depthwise = all(_is_depthwise(node, values) for node in stream.readers)
    return (factors if depthwise else factors**_SHARE).astype(np.float32)


def _streams(graph: onnx.GraphProto, values: Tensors) -> Iterator[_Stream]:
    """The streams that nothing but convolutions writes to and reads from."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    uses: dict[str, int] = defaultdict(int)
    barred = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        for name in node.input:
            uses[name] += 1
        if node.op_type in _LINKS:
            for name in node.input:
                if name not in values:
                    parent[root(name)] = root(node.output[0])
        if not _lets_through(node, values):
            barred |= {*node.input, *node.output}
    found: dict[str, _Stream] = defaultdict(_Stream)
    for node in graph.node:
        if node.op_type == "Conv":
            if any(uses[name] > 1 or name not in values for name in node.input[1:3]):
                barred |= {node.input[0], node.output[0]}
            found[root(node.output[0])].writers.append(node)
            stream = found[root(node.input[0])]
            stream.readers.append(node)
            stream.measured.append(node.input[0])
        elif node.op_type == "Clip":
            stream = found[root(node.output[0])]
            stream.measured.append(node.output[0])
            if len(node.input) > 2:
                stream.bound = min(stream.bound, float(np.min(values.get(node.input[2], np.inf))))
    roots = {root(name) for name in barred}
    for name, stream in found.items():
        channels = {len(values[node.input[1]]) for node in stream.writers if node.input[1] in values}
        if name not in roots and stream.readers and len(channels) == 1:
            yield stream


def _lets_through(node: onnx.NodeProto, values: Tensors) -> bool:
    """Whether a node keeps a channel's positive factor, or is a convolution that can take it up."""
    if node.op_type == "Conv":
        return _groups(node) == 1 or _is_depthwise(node, values)
    if node.op_type == "Clip":
        low = values.get(node.input[1]) if len(node.input) > 1 else None
        return low is not None and not low.any()  # a lower bound of 0 is moved by no factor
    return node.op_type in _LINKS and not (
        node.op_type == "Add" and any(name in values for name in node.input)
    )


def _groups(node: onnx.NodeProto) -> int:
    return int(attributes(node).get("group", 1))


def _is_depthwise(node: onnx.NodeProto, values: Tensors) -> bool:
    return _groups(node) > 1 and _groups(node) == len(values[node.input[1]])
