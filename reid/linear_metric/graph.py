"""A fitted metric folded into a model file, behind its embedding: in ONNX and in OpenVINO's IR."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from reid.card import ModelFile
from reid.errors import ReidError
from reid.files import sha256_of
from reid.linear_metric.fitted import FittedMetric

__all__ = ["PREFIX", "fold_file", "fold_onnx", "fold_openvino"]

PREFIX = "fitted_metric/"
"""Of the names of the nodes and tensors that are added."""


def fold_onnx(proto: onnx.ModelProto, metric: FittedMetric) -> None:
    """Append :meth:`FittedMetric.apply` to a graph, in place, in float32 whatever the graph calculates in.

    Its first output keeps its name and is (N, R) rows of norm 1 afterwards. Both norms, one product and one
    sum are added; with a kernel another product and an exponential.

    Args:
        proto: a checked model whose first output holds the embeddings, (N, D) or (N, D, 1, 1), normalised or
            not, in float32 or float16.
        metric: fitted to these embeddings, normalised.
    """
    graph = proto.graph
    output = graph.output[0]
    embedding = PREFIX + "embedding"
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == output.name:
                    names[place] = embedding
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], out: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [out], name=f"{PREFIX}{len(nodes)}", **attributes))
        return out

    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(value, np.float32), PREFIX + name)
        )
        return PREFIX + name

    rows = embedding
    if output.type.tensor_type.elem_type != TensorProto.FLOAT:
        rows = add("Cast", [rows], PREFIX + "float32", to=TensorProto.FLOAT)
    rows = add("Flatten", [rows], PREFIX + "rows", axis=1)
    rows = add("LpNormalization", [rows], PREFIX + "unit", axis=1, p=2)
    if metric.landmarks is not None:
        # exp(2 gamma x.z - 2 gamma), of rows and landmarks of norm 1
        products = constant("landmarks", 2 * metric.gamma * metric.landmarks)
        shift = constant("shift", np.full(len(metric.landmarks), -2 * metric.gamma))
        rows = add("Gemm", [rows, products, shift], PREFIX + "exponent", transB=1)
        rows = add("Exp", [rows], PREFIX + "features")
    weight, bias = constant("weight", metric.weight), constant("bias", metric.bias)
    rows = add("Gemm", [rows, weight, bias], PREFIX + "mapped", transB=1)
    add("LpNormalization", [rows], output.name, axis=1, p=2)
    graph.node.extend(nodes)
    batch = output.type.tensor_type.shape.dim[0] if output.type.tensor_type.HasField("shape") else None
    count = None if batch is None else batch.dim_value if batch.HasField("dim_value") else batch.dim_param
    shape = [count or "batch", metric.dim]
    output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape))


def fold_openvino(source: Path, path: Path, metric: FittedMetric) -> None:
    """Write an OpenVINO model with the metric behind its first output: ``.xml``, and ``.bin`` beside it.

    Args:
        source: ``.xml`` with its ``.bin`` beside it.
        path: the ``.xml`` to write.
        metric: as for :func:`fold_onnx`.
    """
    import openvino
    from openvino import opset13 as ops

    model = openvino.Core().read_model(source)
    rows = model.get_results()[0].input_value(0)
    if rows.get_partial_shape().rank.get_length() != 2:
        rows = ops.reshape(rows, np.array([0, -1], np.int64), special_zero=True)
    if rows.get_element_type() != openvino.Type.f32:
        rows = ops.convert(rows, "f32")
    rows = ops.normalize_l2(rows, np.array([1], np.int64), 1e-24, "max")
    if metric.landmarks is not None:
        products = ops.matmul(rows, np.float32(2 * metric.gamma) * metric.landmarks, False, True)
        rows = ops.exp(ops.subtract(products, np.float32(2 * metric.gamma)))
    rows = ops.add(ops.matmul(rows, metric.weight, False, True), metric.bias)
    rows = ops.normalize_l2(rows, np.array([1], np.int64), 1e-24, "max")
    folded = openvino.Model([ops.result(rows)], model.get_parameters(), model.get_friendly_name())
    openvino.save_model(folded, path, compress_to_fp16=False)


def fold_file(source: Path, path: Path, metric: FittedMetric, fingerprint: str) -> ModelFile:
    """Write the graph of ``source``, ONNX or OpenVINO, with the metric behind it to ``path``.

    Args:
        source: a file of a model directory.
        path: the new one, of the same kind.
        metric: fitted to the embeddings that ``source`` gives.
        fingerprint: of the model with the metric, where the file says one.

    Returns:
        The file as a card names it.

    Raises:
        ReidError: the graph with the metric is none that ONNX accepts.
    """
    if source.suffix == ".xml":
        fold_openvino(source, path, metric)
        return ModelFile(path=path.name, sha256=sha256_of(path))
    proto = onnx.load_model(source)
    fold_onnx(proto, metric)
    for one in proto.metadata_props:
        if one.key == "reid.fingerprint":
            one.value = fingerprint
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())[:300]
        raise ReidError(
            f"{source} with a metric behind it is no valid graph ({reason}): export it again"
        ) from error
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return ModelFile(path=path.name, sha256=sha256_of(path))
