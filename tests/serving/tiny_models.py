"""Tiny ONNX embedders for tests: row means of the image, a fixed random projection, L2."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from reid.card import InputSpec, ModelCard, ModelFile, SelfTestRecord, Threshold, load_card, save_card
from reid.files import sha256_of
from reid.self_test import SELF_TEST_NAME, SelfTest, write_self_test

HEIGHT, WIDTH, DIM = 16, 8, 6


def projection(dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((HEIGHT * 3, dim)).astype(np.float32)


def expected(images: np.ndarray, dim: int = DIM) -> np.ndarray:
    """What the tiny model gives for (N, 16, 8, 3) uint8, in float64."""
    features = images.astype(np.float64).mean(axis=2).reshape(len(images), -1) @ projection(dim).astype(
        np.float64
    )
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def tiny_graph(
    *, batch: int | str = "batch", dim: int = DIM, normalise: bool = True, multiply: float = 1.0
) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["means"], keepdims=0),
        helper.make_node("Reshape", ["means", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["unit"], axis=1, p=2)
        if normalise
        else helper.make_node("Identity", ["raw"], ["unit"]),
        helper.make_node("Mul", ["unit", "factor"], ["embeddings"]),
    ]
    constants = {
        "axes": np.array([2], np.int64),
        # A written batch size, as careless exporters leave it, keeps a runtime from making the batch free.
        "shape": np.array([batch if isinstance(batch, int) else -1, HEIGHT * 3], np.int64),
        "weight": projection(dim),
        "factor": np.array(multiply, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [batch, dim])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def tiny_model(
    folder: Path, thresholds: tuple[Threshold, ...] = (), card: dict[str, Any] | None = None, **graph: Any
) -> Path:
    """A model directory with ``model.onnx`` and a card that fits it, but for what ``card`` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(tiny_graph(**graph), path)
    facts: dict[str, Any] = {
        "name": "tiny",
        "dim": graph.get("dim", DIM),
        "input": InputSpec(height=HEIGHT, width=WIDTH),
        "files": {"fp32": ModelFile(path="model.onnx", sha256=sha256_of(path))},
        "fingerprint": "tiny-1",
        "thresholds": thresholds,
    }
    save_card(ModelCard(**{**facts, **(card or {})}), folder)
    return folder


def with_self_test(
    folder: Path, turned: float = 0.0, lowest: float = 1.0, int8: bool = False, **model: Any
) -> Path:
    """A tiny model whose self-test says that the trained model's answers were others by ``turned``."""
    tiny_model(folder, **model)
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 8, 3), np.uint8)
    embeddings = expected(images, model.get("dim", DIM)).astype(np.float32)
    embeddings[2] += turned * np.roll(embeddings[2], 1)
    path = folder / SELF_TEST_NAME
    write_self_test(SelfTest(images, embeddings), path)
    record = SelfTestRecord(path=path.name, sha256=sha256_of(path), lowest={"fp32": lowest, "int8": lowest})
    card = load_card(folder).model_copy(update={"self_test": record})
    if int8:  # the same file twice: what it calculates in is of no interest here
        card = card.model_copy(
            update={
                "files": {
                    **card.files,
                    "int8": ModelFile(path="model.onnx", sha256=card.files["fp32"].sha256),
                }
            }
        )
    save_card(card, folder)
    return folder


OSNET = {
    "name": "osnet_x0_25_msmt17",
    "dim": 512,
    "normalised": False,
    "input": {
        "height": 256,
        "width": 128,
        "layout": "nchw",
        "dtype": "float32",
        "colour": "rgb",
        "scale": 1 / 255,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "files": {"fp32": {"path": "osnet_x0_25_msmt17.onnx"}},
}
RETAIL = {
    "name": "person-reidentification-retail-0287",
    "dim": 256,
    "normalised": False,
    "input": {"height": 256, "width": 128, "layout": "nchw", "dtype": "float32", "colour": "bgr"},
    "files": {"openvino": {"path": "person-reidentification-retail-0287.xml"}},
}


def outside_model(folder: Path, card: dict[str, Any], source: Path) -> Path:
    """A model directory with copies of the files of ``source`` and a hand-written card."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        shutil.copy(file, folder / file.name)
    save_card(ModelCard.model_validate(card), folder)
    return folder
