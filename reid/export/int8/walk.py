"""An ONNX graph run one node at a time by ONNX Runtime, so that a layer can be changed before the next one
sees its output.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from reid.errors import ReidError

__all__ = ["Tensors", "attributes", "constants", "multiply_adds", "run_node", "walk"]

Tensors = dict[str, npt.NDArray[Any]]


def constants(graph: onnx.GraphProto) -> Tensors:
    """The graph's initialisers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def run_node(node: onnx.NodeProto, tensors: Mapping[str, npt.NDArray[Any]], opset: int) -> Tensors:
    """A node's outputs by name, of its inputs by name.

    Raises:
        ReidError: ONNX Runtime does not run it.
    """
    feeds = {name: tensors[name] for name in node.input if name}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    # Types of outputs are left to shape inference.
    graph = helper.make_graph(
        [node], "node", inputs, [onnx.ValueInfoProto(name=name) for name in node.output]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # a session a node: its threads would spin beside the next one
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(node.output, session.run(None, feeds), strict=True))
    except Exception as error:  # ONNX Runtime's own kinds have no common public class
        reason = str(error).strip().splitlines()[0][:200]
        raise ReidError(
            f"int8: layer {node.name or node.op_type} does not run by itself ({reason}): leave int8 out"
        ) from error


def walk(graph: onnx.GraphProto, *states: Tensors) -> Iterator[onnx.NodeProto]:
    """The nodes in order; when the caller comes back, tensors that no later node takes are dropped from
    ``states``.
    """
    last = {name: number for number, node in enumerate(graph.node) for name in node.input}
    for number, node in enumerate(graph.node):
        yield node
        for name in node.input:
            if last[name] == number:
                for state in states:
                    state.pop(name, None)


def multiply_adds(node: onnx.NodeProto, weights: npt.NDArray[Any], output: npt.NDArray[Any]) -> int:
    """Multiply-adds an image of a convolution or matrix product with constant weights; ``output`` has the
    batch first.
    """
    values = int(np.prod(output.shape[1:]))
    # A convolution's weights are (out, in / groups, kh, kw); those of a product have inputs as rows, or as
    # columns where transposed.
    if node.op_type == "Conv":
        return values * int(np.prod(weights.shape[1:]))
    return values * (weights.size // output.shape[-1])
