"""Half precision: the backbone of an exported graph in float16, its ends in float32."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from reid.errors import ReidError
from reid.export.onnx import backbone_nodes, read_onnx, write_onnx

__all__ = ["convert_fp16", "store_half"]

_WORTH_HALVING = 256  # numbers of a tensor
_LARGEST = float(np.finfo(np.float16).max)


def convert_fp16(source: Path | str, path: Path | str, kept: Collection[str] = ()) -> None:
    """Write a float32 file of ``export_onnx`` with float16 weights and activations between its first and last
    convolution.

    Input and output keep their types. Pixel scaling, pooling, the neck and the L2 norm stay in float32: they
    cost nothing, and sums of squares over a thousand channels overflow half precision. The graph is typed
    throughout, as TensorRT's strongly typed networks and ONNX Runtime's CPU kernels both want it.

    Args:
        source: the float32 file.
        path: where to write, whole or not at all.
        kept: names of convolutions to leave in float32; what lies before the last of them stays in float32
            with it.

    Raises:
        UsageError: the source does not exist.
        ReidError: the source is no ONNX file, or a weight is too large for float16.
    """
    proto = onnx.shape_inference.infer_shapes(read_onnx(source))
    halved = backbone_nodes(proto) - _up_to_last(proto.graph, kept)
    nodes, weights = _converted(proto.graph, halved, str(source))
    used = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in proto.graph.initializer if tensor.name in used] + weights
    del proto.graph.node[:], proto.graph.initializer[:], proto.graph.value_info[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(initializers)
    write_onnx(proto, path)


def store_half(source: Path | str, path: Path | str) -> None:
    """Write a float32 file whose weights are stored in float16: half the size, calculated in float32 on every
    processor. Runtimes turn the weights back once, when they open the file.

    Args:
        source: the float32 file.
        path: where to write, whole or not at all.

    Raises:
        UsageError: the source does not exist.
        ReidError: the source is no ONNX file, or a weight is too large for float16.
    """
    proto = read_onnx(source)
    graph = proto.graph
    kept: list[onnx.TensorProto] = []
    halved: list[onnx.TensorProto] = []
    casts: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _WORTH_HALVING:
            kept.append(tensor)
            continue
        small, name = _half(tensor, str(source)), tensor.name
        halved.append(small)
        casts.append(
            helper.make_node("Cast", [small.name], [name], name=f"widened_{name}", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *halved])
    write_onnx(proto, path)


def _up_to_last(graph: onnx.GraphProto, kept: Collection[str]) -> frozenset[str]:
    names = [node.name for node in graph.node]
    last = max((names.index(name) for name in kept), default=-1)
    return frozenset(names[: last + 1])


def _converted(
    graph: onnx.GraphProto, halved: frozenset[str], source: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Copies of the nodes, with casts where precisions meet, and the float16 weights."""
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    floats = {
        value.name for value in graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    born_half = {name for node in graph.node if node.name in halved for name in node.output}
    small: dict[str, onnx.TensorProto] = {}
    cast: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for original in graph.node:
        node = onnx.NodeProto.FromString(original.SerializeToString())
        half = node.name in halved
        for index, name in enumerate(node.input):
            if half and name in weights:
                small.setdefault(name, _half(weights[name], source))
                node.input[index] = small[name].name
            elif name in floats and half != (name in born_half):
                if name not in cast:
                    cast[name] = f"{name}_{'fp16' if half else 'fp32'}"
                    target = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                    nodes.append(
                        helper.make_node("Cast", [name], [cast[name]], name=f"cast_{cast[name]}", to=target)
                    )
                node.input[index] = cast[name]
        nodes.append(node)
    return nodes, list(small.values())


def _half(tensor: onnx.TensorProto, source: str) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    # A scalar may be the bound of a Clip, where the largest number means "no bound"; a weight that large is a
    # broken model.
    if values.ndim and np.abs(values).max(initial=0) > _LARGEST:
        raise ReidError(
            f"{source}: {tensor.name} holds {np.abs(values).max():.3g}, beyond float16: leave fp16 out "
            "of the precisions"
        )
    return numpy_helper.from_array(
        np.clip(values, -_LARGEST, _LARGEST).astype(np.float16), f"{tensor.name}_fp16"
    )
