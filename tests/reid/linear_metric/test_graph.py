"""The metric inside a model file: what the runtimes calculate is what NumPy says of the old embeddings."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from reid.export.onnx import backbone_nodes
from reid.export.tensorrt import build_engine
from reid.linear_metric import FittedMetric, fit_metric
from reid.linear_metric.graph import PREFIX, fold_onnx, fold_openvino
from tests.reid.linear_metric.features import hidden_people
from tests.serving.tiny_models import HEIGHT, WIDTH, expected, tiny_graph

DIM = 24


def images() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (20, HEIGHT, WIDTH, 3), np.uint8)


def metric(landmarks: int | None = None) -> FittedMetric:
    made = hidden_people(dim=DIM)
    return fit_metric(made.rows, made.people, made.cameras, "xqda", landmarks=landmarks).metric


def run(proto: onnx.ModelProto, pictures: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_outputs()[0].name
    assert name == "embeddings" and session.get_outputs()[0].type == "tensor(float)"
    return np.asarray(session.run([name], {"images": pictures})[0])


def ending_in(proto: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """The graph with another last node: float16, or a map of one pixel."""
    graph = proto.graph
    graph.node[-1].output[0] = "inner"
    if kind == "float16":
        graph.node.append(helper.make_node("Cast", ["inner"], ["embeddings"], to=TensorProto.FLOAT16))
        graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    else:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, DIM, 1, 1]), "map"))
        graph.node.append(helper.make_node("Reshape", ["inner", "map"], ["embeddings"]))
        graph.output[0].CopyFrom(
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", DIM, 1, 1])
        )
    return proto


@pytest.mark.parametrize("landmarks", [None, 30])
@pytest.mark.parametrize("graph", [{}, {"normalise": False}, {"batch": 20}])
def test_onnx_gives_l_of_the_old_embeddings(landmarks: int | None, graph: dict[str, Any]) -> None:
    fitted, proto = metric(landmarks), tiny_graph(dim=DIM, **graph)
    fold_onnx(proto, fitted)
    wanted = fitted.apply(expected(images(), DIM))
    np.testing.assert_allclose(run(proto, images()), wanted, atol=1e-4)
    shape = proto.graph.output[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param or shape[0].dim_value, shape[1].dim_value) == (
        graph.get("batch", "batch"),
        fitted.dim,
    )


@pytest.mark.parametrize(("kind", "atol"), [("float16", 5e-3), ("map", 1e-4)])
def test_halves_and_maps_of_one_pixel_are_taken_too(kind: str, atol: float) -> None:
    fitted, proto = metric(), ending_in(tiny_graph(dim=DIM), kind)
    fold_onnx(proto, fitted)
    np.testing.assert_allclose(run(proto, images()), fitted.apply(expected(images(), DIM)), atol=atol)


def test_it_is_no_part_of_what_lower_precision_converts() -> None:
    """A network of products, whose last one would else be the metric's."""
    proto = tiny_graph(dim=DIM)
    for number, node in enumerate(proto.graph.node):
        node.name = f"own{number}"
    fold_onnx(proto, metric())
    assert backbone_nodes(proto) and not [name for name in backbone_nodes(proto) if name.startswith(PREFIX)]


@pytest.mark.parametrize("landmarks", [None, 30])
@pytest.mark.parametrize("kind", ["rows", "map"])
def test_openvino_gives_the_same(tmp_path: Path, landmarks: int | None, kind: str) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    proto = tiny_graph(dim=DIM)
    onnx.save(proto if kind == "rows" else ending_in(proto, kind), tmp_path / "old.onnx")
    openvino.save_model(openvino.Core().read_model(tmp_path / "old.onnx"), tmp_path / "old.xml", False)
    fitted = metric(landmarks)
    fold_openvino(tmp_path / "old.xml", tmp_path / "new.xml", fitted)
    folded_too = tiny_graph(dim=DIM)
    fold_onnx(folded_too, fitted)
    onnx.save(folded_too, tmp_path / "new.onnx")
    for name in ("new.xml", "new.onnx"):
        compiled = openvino.Core().compile_model(tmp_path / name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        np.testing.assert_allclose(
            compiled(images())[0], fitted.apply(expected(images(), DIM)), atol=1e-4, err_msg=name
        )


def test_tensorrt_takes_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    proto = tiny_graph(dim=DIM)
    fold_onnx(proto, metric(landmarks=30))
    onnx.save(proto, tmp_path / "new.onnx")
    build_engine(tmp_path / "new.onnx", tmp_path / "new.plan", targets=("SM89",))
    assert (tmp_path / "new.plan").stat().st_size > 1000
