"""``reid models import`` of files that are models already: what is recognised, what is assumed, what is
refused.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from reid.card import load_card
from serving.runtime import load
from tests.serving.tiny_models import HEIGHT, WIDTH, expected, tiny_graph


@pytest.fixture
def run(reid: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: reid("models", "import", *words)


def float_graph(
    path: Path, shape: list[int | str], kind: int = TensorProto.FLOAT, inputs: int = 1, output: str = "means"
) -> Path:
    """An outside ONNX file in NCHW: the mean of each channel and column."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[2], keepdims=0),
        helper.make_node("Flatten", ["means"], ["flat"]),
    ]
    values = [helper.make_tensor_value_info(name, kind, shape) for name in ("images", "more")[:inputs]]
    result = helper.make_tensor_value_info(output, kind, None)
    graph = helper.make_graph(nodes, "outside", values, [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_an_onnx_file_is_described_by_its_shape_and_by_options(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    path = float_graph(tmp_path / "outside.onnx", ["n", 3, HEIGHT, WIDTH], output="flat")
    code, said, problems = run(path, "--out", tmp_path / "model")
    assert (code, problems) == (0, "")
    assert f"float32 [any, 3, {HEIGHT}, {WIDTH}], NCHW, {HEIGHT}x{WIDTH}" in said.replace(
        "tensor(float)", "float32"
    )
    assert "RGB and ImageNet's mean and deviation are assumed" in said
    image = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH, 3), np.uint8)

    def wanted(pixels: np.ndarray) -> np.ndarray:
        rows = pixels.transpose(0, 3, 1, 2).mean(axis=2).reshape(len(pixels), -1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        load(tmp_path / "model", "onnxruntime", 1)(image), wanted((image / 255 - mean) / std), atol=1e-5
    )
    said = run(
        path,
        "--out",
        tmp_path / "model",
        "--colour",
        "bgr",
        "--scale",
        "1",
        "--mean",
        "1,2,3",
        "--name",
        "theirs",
    )[1]
    assert "as said: BGR, (pixel * 1 - [1.0, 2.0, 3.0]) / [1.0, 1.0, 1.0]" in said
    assert load_card(tmp_path / "model").name == "theirs"
    np.testing.assert_allclose(
        load(tmp_path / "model", "onnxruntime", 1)(image),
        wanted(image[..., ::-1] - [1.0, 2.0, 3.0]),
        atol=1e-5,
    )


def test_a_file_of_our_own_form_needs_nothing_said(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    onnx.save(tiny_graph(), tmp_path / "tiny.onnx")
    assert run(tmp_path / "tiny.onnx", "--out", tmp_path / "model")[0] == 0
    image = np.random.default_rng(0).integers(0, 255, (2, HEIGHT, WIDTH, 3), np.uint8)
    np.testing.assert_allclose(load(tmp_path / "model", "onnxruntime", 1)(image), expected(image), atol=1e-5)
    rows = json.loads((tmp_path / "model" / "model.json").read_text())["self_test"]["lowest"]
    assert rows["fp32"] > 0.9999


@pytest.mark.parametrize(
    ("graph", "words", "expected"),
    [
        (
            {"shape": ["n", 3, "h", "w"], "output": "flat"},
            [],
            "takes pictures of any size: say which it was trained on, e.g. --height 256",
        ),
        (
            {"shape": ["n", 3, 16, 8], "inputs": 2, "output": "flat"},
            [],
            "has 2 inputs (images, more): an embedder has one",
        ),
        (
            {"shape": ["n", 3, 16, 8], "kind": TensorProto.FLOAT16, "output": "flat"},
            [],
            "takes tensor(float16): want float32 or uint8",
        ),
        (
            {"shape": ["n", 3, 16, 8]},
            [],
            "gives [1, 3, 8] for a picture: an embedder gives one row of numbers",
        ),
        ({"shape": ["n", 4, 16, 8], "output": "flat"}, [], "that is not a picture of three colours"),
        (
            {"shape": ["n", 3, 16, 8], "output": "flat"},
            ["--layout", "nhwc"],
            "[any, 3, 16, 8]: that is not nhwc",
        ),
        ({"shape": ["n", 3, 16, 8], "output": "flat"}, ["--height", "99"], "takes a height of 16, not 99"),
        (
            {"shape": ["n", 3, 16, 8], "output": "flat"},
            ["--mean", "1,2"],
            "--mean is '1,2': want three numbers",
        ),
        (
            {"shape": ["n", 3, 16, 8], "output": "flat"},
            ["--architecture", "osnet_x1_0"],
            "is a model already",
        ),
    ],
)
def test_files_that_are_no_embedders(tmp_path: Path, run, graph, words, expected: str) -> None:  # type: ignore[no-untyped-def]
    path = float_graph(tmp_path / "outside.onnx", **graph)
    code, _, problems = run(path, "--out", tmp_path / "model", *words)
    assert code in (1, 2)
    assert expected in problems
    assert str(tmp_path / "outside.onnx") in problems or "--" in problems  # as it was named, not a copy of it
    assert problems.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_a_torn_onnx_file_and_an_xml_without_its_bin(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    path = float_graph(tmp_path / "outside.onnx", ["n", 3, 16, 8], output="flat")
    path.write_bytes(path.read_bytes()[:-40])
    assert "cannot be opened by ONNX Runtime" in run(path, "--out", tmp_path / "model")[2]
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    assert "is not a file" in run(path, "--out", tmp_path / "model")[2]
    (tmp_path / "net.xml").write_text("<net/>")
    stderr = run(tmp_path / "net.xml", "--out", tmp_path / "model")[2]
    assert "net.bin is not there: an OpenVINO model is an .xml and a .bin, copy both" in stderr


@pytest.mark.footage
def test_the_open_model_zoo_s_file_says_itself_what_it_wants(tmp_path: Path, shared: Path, run) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("openvino")
    name = "person-reidentification-retail-0287"
    code, said, _ = run(shared / "models" / name / "FP32" / f"{name}.xml", "--out", tmp_path / "model")
    assert code == 0
    assert "normalisation is inside: BGR, 0 to 255" in said
    assert sorted(path.suffix for path in (tmp_path / "model").iterdir()) == [
        ".bin",
        ".json",
        ".safetensors",
        ".xml",
    ]
    pictures = sorted((shared / "data" / "cuhk03_np" / "bounding_box_train").glob("000[124]_*.jpg"))
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in pictures]
    rows = load(tmp_path / "model", "openvino", 1)(images)
    people = np.array([path.name[:4] for path in pictures])
    same = people[:, None] == people
    cosine = rows @ rows.T
    # Given the colours the wrong way round or normalised twice, people would not be told apart so clearly.
    assert cosine[same].mean() - cosine[~same].mean() > 0.3
    shutil.rmtree(tmp_path / "model")
