import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.card import InputSpec, ModelFile
from reid.data.store import load_images
from reid.errors import ReidError, UsageError
from reid.images import resize
from serving.runtime import load
from serving.runtime.embedder import CPU_BATCH
from serving.runtime.preprocess import prepare
from tests.serving.tiny_models import HEIGHT, OSNET, RETAIL, WIDTH, expected, outside_model, tiny_model

BACKENDS = ("onnxruntime", "openvino")


def images_of(count: int, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inferences_side_by_side_do_not_mix_their_rows(tmp_path: Path, backend: str) -> None:
    embedder = load(tiny_model(tmp_path), backend, threads=3)
    assert embedder.at_once == 3
    batches = [images_of(1 + seed % 5, seed) for seed in range(60)]
    with ThreadPoolExecutor(7) as pool:
        found = list(pool.map(embedder.run, map(embedder.prepare, batches)))
    for images, rows in zip(batches, found, strict=True):
        np.testing.assert_allclose(rows, expected(images), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, CPU_BATCH, 2 * CPU_BATCH + 7])
def test_any_number_of_images_gives_the_model_s_rows(tmp_path: Path, backend: str, count: int) -> None:
    embedder = load(tiny_model(tmp_path), backend)
    images = images_of(count)
    rows = embedder(images)
    assert rows.dtype == np.float32
    assert rows.shape == (count, embedder.dim)
    np.testing.assert_allclose(rows, expected(images), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(embedder(list(images)), rows)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", [1, 4, 12])
def test_a_file_with_a_fixed_batch_takes_any_number(tmp_path: Path, backend: str, batch: int) -> None:
    images = images_of(CPU_BATCH + 3)
    embedder = load(tiny_model(tmp_path, batch=batch), backend)
    np.testing.assert_allclose(embedder(images), expected(images), atol=1e-5)
    # A smaller one would be filled up at the price of a whole one. OpenVINO frees the batch where the file
    # lets it.
    assert embedder.batch == (batch if backend == "onnxruntime" else CPU_BATCH)


def test_mixed_sizes_are_resized_one_by_one(tmp_path: Path) -> None:
    embedder = load(tiny_model(tmp_path))
    mixed = [
        images_of(1, seed, height, width)[0]
        for seed, (height, width) in enumerate([(16, 8), (200, 90), (5, 3), (40, 4), (1, 1)])
    ]
    alone = np.concatenate([embedder([image]) for image in mixed])
    np.testing.assert_allclose(embedder(mixed), alone, atol=1e-6)
    np.testing.assert_allclose(
        alone, expected(np.stack([resize(image, HEIGHT, WIDTH) for image in mixed])), atol=1e-5
    )


def test_no_image_gives_no_row(tmp_path: Path) -> None:
    embedder = load(tiny_model(tmp_path))
    assert embedder([]).shape == embedder(images_of(0)).shape == (0, embedder.dim)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 8, 3), np.uint8), "image 70 has no pixel"),
        (np.zeros((8, 8), np.uint8), "image 70 is uint8 of shape"),
        (np.zeros((8, 8, 4), np.uint8), "image 70 is uint8 of shape"),
        (np.zeros((8, 8, 3), np.float32), "image 70 is float32 of shape"),
    ],
)
def test_a_bad_image_is_named(tmp_path: Path, bad: np.ndarray, message: str) -> None:
    images = [*images_of(70), bad, *images_of(80)]
    with pytest.raises(ReidError, match=message):
        load(tiny_model(tmp_path))(images)


def test_one_image_without_the_batch_axis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReidError, match="want \\(N, height, width, 3\\)"):
        load(tiny_model(tmp_path))(images_of(1)[0])


def test_the_embedder_tells_what_it_is(tmp_path: Path) -> None:
    embedder = load(tiny_model(tmp_path), "onnxruntime")
    assert (embedder.backend, embedder.precision, embedder.fingerprint, embedder.dim) == (
        "onnxruntime",
        "fp32",
        "tiny-1",
        6,
    )
    assert embedder.card.name == "tiny"


def test_an_output_that_is_not_normalised_is_normalised_where_the_card_says_so(tmp_path: Path) -> None:
    images = images_of(9)
    rows = load(tiny_model(tmp_path, card={"normalised": False}, normalise=False))(images)
    np.testing.assert_allclose(rows, expected(images), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_truncated_file_is_said_in_one_line(tmp_path: Path, backend: str) -> None:
    path = tiny_model(tmp_path, card={"files": {"fp32": ModelFile(path="model.onnx")}}) / "model.onnx"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(
        ReidError, match=r"model\.onnx cannot be opened by .*export the model again"
    ) as caught:
        load(tmp_path, backend)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x89PNG\r\n\x1a\n" + bytes(64)])
def test_a_foreign_file_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tiny_model(tmp_path, card={"files": {"fp32": ModelFile(path="model.onnx")}}) / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ReidError, match=r"model\.onnx cannot be opened") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_file_than_the_card_describes_is_refused(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "a") / "model.onnx"
    path.write_bytes((tiny_model(tmp_path / "b", multiply=-1.0) / "model.onnx").read_bytes())
    with pytest.raises(
        ReidError, match=r"model\.onnx is not the file that model.json describes.*export again"
    ):
        load(tmp_path / "a")


def test_an_unsupported_operator_is_named(tmp_path: Path) -> None:
    path = tiny_model(tmp_path, card={"files": {"fp32": ModelFile(path="model.onnx")}}) / "model.onnx"
    model = onnx.load(path)
    model.graph.node[3].op_type = "NoSuchOperator"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ReidError, match="NoSuchOperator"):
        load(tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("card", "graph", "message"),
    [
        ({"dim": 7}, {}, "its card says dim 7"),
        ({"input": InputSpec(height=HEIGHT, width=WIDTH + 1)}, {}, "its card says uint8 of shape"),
        ({"input": InputSpec(height=HEIGHT, width=WIDTH, dtype="float32")}, {}, "its card says float32"),
        ({"input": InputSpec(height=HEIGHT, width=WIDTH, layout="nchw")}, {}, "its card says uint8 of shape"),
        ({}, {"multiply": 2.0}, "norm 2 .*its card says normalised"),
        ({}, {"multiply": float("nan")}, "NaN or infinity"),
        ({}, {"multiply": 0.0}, "gives zeros"),
    ],
)
def test_a_card_that_does_not_fit_its_file_is_refused(
    tmp_path: Path, backend: str, card: dict, graph: dict, message: str
) -> None:
    with pytest.raises(ReidError, match=message) as caught:
        load(tiny_model(tmp_path, card=card, **graph), backend)
    assert "\n" not in str(caught.value)


def test_backends_and_precisions_are_checked(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    with pytest.raises(UsageError, match=r"'cuda' is unknown: present .* onnxruntime, openvino"):
        load(model, "cuda")
    with pytest.raises(
        UsageError,
        match="backend 'tensorrt' cannot be used: this machine lacks a GPU, or the card names no fp32 file",
    ):
        load(model, "tensorrt")
    with pytest.raises(UsageError, match="has no int8 file"):
        load(model, precision="int8")
    with pytest.raises(UsageError, match="'fp8' is unknown"):
        load(model, precision="fp8")
    with pytest.raises(UsageError, match="threads is 0"):
        load(model, threads=0)
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "absent")


@settings(deadline=None, max_examples=30)
@given(
    layout=st.sampled_from(["nhwc", "nchw"]),
    colour=st.sampled_from(["rgb", "bgr"]),
    scale=st.floats(0.001, 2),
    mean=st.tuples(*[st.floats(-2, 2)] * 3),
    std=st.tuples(*[st.floats(0.1, 3)] * 3),
    seed=st.integers(0, 99),
)
def test_preprocessing_is_what_the_card_says(
    layout: str, colour: str, scale: float, mean: tuple[float, ...], std: tuple[float, ...], seed: int
) -> None:
    spec = InputSpec(
        height=4, width=3, layout=layout, dtype="float32", colour=colour, scale=scale, mean=mean, std=std
    )
    images = images_of(3, seed, 4, 3)
    batch = prepare(images, spec)
    for n, y, x, channel in np.ndindex(3, 4, 3, 3):
        pixel = images[n, y, x, channel if colour == "rgb" else 2 - channel]
        wanted = (pixel * scale - mean[channel]) / std[channel]
        got = batch[n, y, x, channel] if layout == "nhwc" else batch[n, channel, y, x]
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (20, 10), (128, 64)])
def test_resizing_follows_the_rule_of_training(tmp_path: Path, size: tuple[int, int]) -> None:
    image = images_of(1, 3, *size)[0]
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    np.testing.assert_array_equal(
        prepare([image], InputSpec(height=128, width=64))[0], load_images([tmp_path / "a.png"], 128, 64)[0]
    )


def pku_crops(shared: Path, people: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    paths = sorted((shared / "data" / "pku_reid" / "dev").glob("*.png"))[: people * 16]
    images = [cv2.imread(str(path))[..., ::-1] for path in paths]
    return images, np.array([path.name[:3] for path in paths]), np.array([path.name[4:6] for path in paths])


def rank1(rows: np.ndarray, people: np.ndarray, cameras: np.ndarray) -> float:
    query, gallery = rows[cameras == "c1"], rows[cameras == "c2"]
    return float(
        np.mean(people[cameras == "c2"][(query @ gallery.T).argmax(axis=1)] == people[cameras == "c1"])
    )


def test_outside_models_agree_between_runtimes_and_find_people(tmp_path: Path, shared: Path) -> None:
    images, people, cameras = pku_crops(shared, 8)
    osnet = outside_model(tmp_path / "osnet", OSNET, shared / "models" / "osnet_x0_25_msmt17")
    rows = {backend: load(osnet, backend, threads=1)(images) for backend in BACKENDS}
    assert np.sum(rows["onnxruntime"] * rows["openvino"], axis=1).min() > 0.9999
    retail = outside_model(
        tmp_path / "retail", RETAIL, shared / "models" / "person-reidentification-retail-0287" / "FP32"
    )
    embedder = load(retail, threads=1)
    assert embedder.backend == "openvino"
    assert rank1(rows["onnxruntime"], people, cameras) > 0.7
    assert rank1(embedder(images), people, cameras) > 0.9


def test_an_openvino_model_without_its_weights_is_said(tmp_path: Path, shared: Path) -> None:
    retail = outside_model(
        tmp_path, RETAIL, shared / "models" / "person-reidentification-retail-0287" / "FP32"
    )
    (retail / "person-reidentification-retail-0287.bin").unlink()
    with pytest.raises(ReidError, match=r"retail-0287\.bin is not there"):
        load(retail)


def test_serving_imports_without_torch() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "blocked = ('torch', 'torchvision', 'torchreid', 'ray', 'mlflow', 'dvc')\n"
        "sys.modules.update(dict.fromkeys(blocked))\n"
        "import serving\n"
        "names = [module.name for module in pkgutil.walk_packages(serving.__path__, 'serving.')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "assert not [name for name in blocked if sys.modules[name] is not None]\n"
        "print(len(names))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15
