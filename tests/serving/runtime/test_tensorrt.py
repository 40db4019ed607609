"""The TensorRT runner's plumbing, through a stand-in; that its calls exist on the real classes; and, where
there is a GPU, the real thing.

Nothing here but the ``gpu`` test says anything about the numbers that TensorRT gives.
"""

import gc
import hashlib
import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from reid.card import ModelFile
from reid.engine_stamp import EngineStamp, Gpu, current_gpu, write_stamp
from reid.errors import ReidError
from reid.files import sha256_of
from serving.detection import NetworkDetector, open_model
from serving.runtime import load
from serving.runtime.tensorrt import EngineRunner
from serving.video import Frame
from tests.serving import tensorrt_stand_in as fake
from tests.serving.detection.tiny_detectors import Detected, detector_file, detr
from tests.serving.tiny_models import DIM, HEIGHT, WIDTH, expected, tiny_graph, tiny_model

PLAN = tiny_graph().SerializeToString()


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def _runner(
    profile: tuple[int, int, int] = (1, 4, 6), memory: int = 1 << 30
) -> tuple[EngineRunner, fake.Cudart, fake.ICudaEngine]:
    cudart = fake.Cudart(memory)
    trt = fake.stand_in(profile, cudart)
    return EngineRunner(PLAN, trt, cudart, "model.plan"), cudart, trt.engines[0]


@pytest.mark.parametrize(("count", "executed"), [(1, [1]), (6, [6]), (7, [6, 1]), (20, [6, 6, 6, 2])])
def test_any_batch_is_cut_by_the_profiles_maximum(count: int, executed: list[int]) -> None:
    runner, _, engine = _runner()
    images = _images(count)
    rows = runner.run(images)
    assert rows.shape == (count, DIM)
    assert rows.dtype == np.float32
    assert engine.executed == executed
    np.testing.assert_allclose(rows, expected(images), atol=1e-5)


def test_no_image_gives_no_row_and_no_execution() -> None:
    runner, cudart, engine = _runner()
    assert runner.run(_images(0)).shape == (0, DIM)
    assert (engine.executed, cudart.copies) == ([], [])


def test_a_batch_below_the_profiles_minimum_is_filled_up_and_cut_again() -> None:
    runner, _, engine = _runner(profile=(3, 4, 6))
    images = _images(7)
    np.testing.assert_allclose(runner.run(images), expected(images), atol=1e-5)
    assert engine.executed == [6, 3]


def test_buffers_are_made_once_at_the_largest_size_and_given_back() -> None:
    runner, cudart, _ = _runner()
    sizes = sorted(len(block) for block in cudart.blocks.values())
    assert sizes == [6 * DIM * 4, 6 * HEIGHT * WIDTH * 3]
    before = set(cudart.blocks)
    runner.run(_images(9))
    assert set(cudart.blocks) == before
    assert len(cudart.streams) == 1
    assert cudart.copies[0] == ("cudaMemcpyHostToDevice", 6 * HEIGHT * WIDTH * 3)
    assert cudart.copies[-1] == ("cudaMemcpyDeviceToHost", 3 * DIM * 4)
    del runner
    gc.collect()
    assert not cudart.blocks
    assert not cudart.streams


def test_views_and_strided_batches_are_copied_whole() -> None:
    runner, _, _ = _runner()
    images = _images(5)
    np.testing.assert_allclose(
        runner.run(images[::-1, :, ::-1][::2]), expected(images[::-1, :, ::-1][::2]), atol=1e-5
    )


def test_what_goes_wrong_is_named() -> None:
    runner, _, _ = _runner()
    with pytest.raises(ReidError, match=r"model.plan takes uint8 .* not float32"):
        runner.run(_images(2).astype(np.float32))
    with pytest.raises(ReidError, match=r"model.plan takes uint8 .* not uint8 \(2, 8, 16, 3\)"):
        runner.run(_images(2).reshape(2, WIDTH, HEIGHT, 3))
    with pytest.raises(ReidError, match="CUDA answers cudaErrorMemoryAllocation"):
        _runner(memory=1000)
    cudart = fake.Cudart()
    with pytest.raises(ReidError, match=r"model.plan cannot be opened by stand_in 0: build the engine again"):
        EngineRunner(b"torn", fake.stand_in((1, 1, 1), cudart), cudart, "model.plan")


@pytest.mark.parametrize("module", ["tensorrt_rtx", "tensorrt"])
@pytest.mark.parametrize("name", ["IExecutionContext", "ICudaEngine", "Runtime"])
def test_every_call_of_the_stand_in_exists_on_the_real_class(module: str, name: str) -> None:
    trt = pytest.importorskip(module)
    stand_in = fake.stand_in((1, 1, 1), fake.Cudart()).Runtime if name == "Runtime" else getattr(fake, name)
    real = getattr(trt, name)
    methods = [
        (key, value)
        for key, value in vars(stand_in).items()
        if inspect.isfunction(value) and not key.startswith("_")
    ]
    assert methods
    for key, value in methods:
        wanted = [parameter for parameter in inspect.signature(value).parameters if parameter != "self"]
        overloads = re.findall(rf"{key}\(self: [^,)]+(?:, )?(.*?)\) -> ", getattr(real, key).__doc__ or "")
        named = [re.findall(r"(?:^|, )(\w+): ", overload) for overload in overloads]
        assert wanted in named, f"{name}.{key} takes {named}, the stand-in {wanted}"
    for key in (
        key for key, value in vars(stand_in).items() if not callable(value) and not key.startswith("_")
    ):
        assert hasattr(real, key), key


@pytest.mark.parametrize("module", ["tensorrt_rtx", "tensorrt"])
def test_the_enumerations_and_the_logger_exist(module: str) -> None:
    trt = pytest.importorskip(module)
    for enumeration in (fake.TensorIOMode, fake.DataType):
        assert set(enumeration.__members__) <= set(getattr(trt, enumeration.__name__).__members__)
    assert trt.Logger(trt.Logger.ERROR) is not None
    assert isinstance(trt.__version__, str)


def test_every_cuda_call_exists_with_its_arguments() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    for key, value in vars(fake.Cudart).items():
        if inspect.isfunction(value) and key.startswith("cuda"):
            wanted = [parameter for parameter in inspect.signature(value).parameters if parameter != "self"]
            text = getattr(runtime, key).__doc__ or ""
            named = re.findall(r"(?:\(|, )(?:\w+ )?(\w+)(?=[,:)]| *=)", text.splitlines()[0])
            assert [name for name in wanted if name not in named] == [], f"{key}: {text.splitlines()[0]}"
    for enumeration in (fake.cudaError_t, fake.cudaMemcpyKind):
        real = getattr(runtime, enumeration.__name__).__members__
        assert all(real[name].value == member.value for name, member in enumeration.__members__.items())


GPU = Gpu(name="A10", compute_capability="SM86", driver=13000)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory with an engine for the GPU that the stand-in pretends to."""
    card = {
        "files": {
            "fp32": ModelFile(path="model.onnx", sha256=PLAN_SHA256),
            "engine_fp32": ModelFile(path="model.plan"),
        }
    }
    (tmp_path / "model.plan").write_bytes(PLAN)
    write_stamp(STAMP, tmp_path / "model.plan")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cudart = fake.Cudart()
    modules = {"tensorrt_rtx": fake.stand_in((1, 4, 6), cudart), "cuda.bindings.runtime": cudart}
    monkeypatch.setattr(
        "serving.runtime.tensorrt.importlib", SimpleNamespace(import_module=modules.__getitem__)
    )
    for module in ("serving.runtime.backends", "serving.runtime.tensorrt"):
        monkeypatch.setattr(f"{module}.current_gpu", lambda: GPU)
    return tiny_model(tmp_path, card=card)


PLAN_SHA256 = hashlib.sha256(PLAN).hexdigest()
STAMP = EngineStamp(
    module="tensorrt_rtx",
    version="0",
    onnx_sha256=PLAN_SHA256,
    profile=(1, 4, 6),
    workspace_mib=1,
    optimization_level=0,
    targets=("SM86",),
    plan_sha256=PLAN_SHA256,
)


def test_load_opens_an_engine_where_there_is_a_gpu(engine: Path) -> None:
    embedder = load(engine, "tensorrt")
    images = _images(9)
    np.testing.assert_allclose(embedder(images), expected(images), atol=1e-5)
    assert "tensorrt" in load(engine).chosen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1"}, "was built by tensorrt_rtx 1, installed is 0: build the engine again"),
        ({"targets": ("SM75",)}, "is for SM75, this GPU is SM86"),
        ({"onnx_sha256": "00" * 32}, "was built from another ONNX file"),
        ({"plan_sha256": "00" * 32}, "is not the file that its stamp was written for"),
    ],
)
def test_an_engine_of_another_version_gpu_or_file_is_refused_before_it_is_opened(
    engine: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], message: str
) -> None:
    write_stamp(STAMP.model_copy(update=change), engine / "model.plan")
    monkeypatch.setattr(
        "serving.runtime.tensorrt.EngineRunner", lambda *arguments: pytest.fail("the engine was opened")
    )
    with pytest.raises(ReidError, match=message) as caught:
        load(engine, "tensorrt")
    assert "\n" not in str(caught.value)
    kept = load(engine)
    assert kept.backend in ("onnxruntime", "openvino")
    assert message in kept.chosen


def test_an_engine_for_other_images_than_the_cards_is_refused(engine: Path) -> None:
    card = json.loads((engine / "model.json").read_text())
    card["input"]["height"] += 1
    (engine / "model.json").write_text(json.dumps(card))
    with pytest.raises(
        ReidError, match=r"model.plan takes uint8 \(N, \(16, 8, 3\)\), its card says otherwise"
    ):
        load(engine, "tensorrt")


def test_a_detectors_engine_answers_through_the_stand_in(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [Detected((5, 15, 24, 48), 0, 0.75), Detected((40, 22, 61, 47), 0, 0.5)]
    source = detector_file(engine / "d.onnx", detr(boxes, 2), batch="n")
    plan = engine / "d.plan"
    plan.write_bytes(source.read_bytes())
    write_stamp(STAMP.model_copy(update={"plan_sha256": sha256_of(plan), "onnx_sha256": "any"}), plan)
    monkeypatch.setattr("serving.runtime.networks.current_gpu", lambda: GPU)
    detector = NetworkDetector(open_model(plan), confidence=0.3, min_size=(1, 1))
    assert (detector.model.backend, detector.model.layout.name, detector.at_once) == ("tensorrt", "detr", 1)
    frames = [Frame(number, 0.0, np.zeros((64, 96, 3), np.uint8)) for number in range(1, 8)]
    found = detector.detect(frames)
    assert len(found) == 7
    for one in found:
        np.testing.assert_allclose(one.xyxy, [one.box for one in boxes], atol=1e-3)


@pytest.mark.gpu
def test_a_real_engine_on_a_real_gpu_gives_the_onnx_files_answers(tmp_path: Path) -> None:
    gpu = current_gpu()
    if gpu is None:
        pytest.skip("no GPU here")
    trt = pytest.importorskip("tensorrt_rtx")
    cudart = pytest.importorskip("cuda.bindings.runtime")
    export = pytest.importorskip("reid.export.tensorrt")
    folder = tiny_model(tmp_path / "model")
    export.build_engine(
        folder / "model.onnx", folder / "model.plan", profile=(1, 4, 6), targets=(gpu.compute_capability,)
    )
    images = _images(20)
    rows = EngineRunner((folder / "model.plan").read_bytes(), trt, cudart, "model.plan").run(images)
    np.testing.assert_allclose(rows, expected(images), atol=1e-3)
