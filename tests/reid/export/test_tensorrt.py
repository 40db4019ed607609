"""The engine builder really builds, with TensorRT-RTX on the CPU; what the library refuses reaches the
message.

Nothing here runs an engine.
"""

import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from reid.engine_stamp import EngineStamp, Gpu, check_stamp, current_gpu, read_stamp, stamp_path
from reid.errors import ReidError, UsageError
from reid.export.tensorrt import build_engine, import_tensorrt, serialise_engine
from reid.files import sha256_of
from tests.reid.export.conftest import Exported

TARGETS = ("SM86",)


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def built(trt: ModuleType, exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine, which takes seconds to build."""
    path = tmp_path_factory.mktemp("built") / "model.plan"
    build_engine(exported.onnx, path, targets=TARGETS)
    return path


@pytest.fixture
def plan(built: Path, tmp_path: Path) -> Path:
    """A copy of it with its stamp, to be changed."""
    for path in (built, stamp_path(built)):
        shutil.copy2(path, tmp_path)
    return tmp_path / built.name


def test_an_engine_is_built_and_stamped(plan: Path, trt: ModuleType, exported: Exported) -> None:
    assert plan.stat().st_size > 11_000_000 * 4 * 0.9  # no smaller than ResNet-18's float32 weights
    stamp = read_stamp(plan)
    assert (stamp.module, stamp.version, stamp.profile, stamp.targets) == (
        "tensorrt_rtx",
        trt.__version__,
        (1, 8, 64),
        TARGETS,
    )
    assert stamp.onnx_sha256 == sha256_of(exported.onnx)
    assert stamp.plan_sha256 == sha256_of(plan)


def test_a_present_engine_is_kept_until_something_changes(plan: Path, exported: Exported) -> None:
    written, stamp = plan.stat().st_mtime_ns, read_stamp(plan)
    assert build_engine(exported.onnx, plan, targets=TARGETS) == stamp
    assert plan.stat().st_mtime_ns == written
    changed = build_engine(exported.onnx, plan, targets=("SM89",))
    assert changed.key != stamp.key
    assert plan.stat().st_mtime_ns > written
    assert read_stamp(plan).targets == ("SM89",)


def test_a_torn_engine_is_refused_on_reading_and_rebuilt_on_building(plan: Path, exported: Exported) -> None:
    size = plan.stat().st_size
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(
        ReidError, match="is not the file that its stamp was written for: build the engine again"
    ):
        read_stamp(plan)
    stamp = build_engine(exported.onnx, plan, targets=TARGETS)
    # not the same bytes: TensorRT-RTX numbers some of its symbols by chance
    assert plan.stat().st_size == size
    assert read_stamp(plan) == stamp


def _build(trt: ModuleType, content: bytes, shapes: dict[str, Any]) -> bytes:
    return serialise_engine(trt, content, shapes, targets=TARGETS, name="model.onnx")


def _shapes(
    name: str = "images", least: int = 1, best: int = 8, most: int = 64, height: int = 64, width: int = 32
) -> dict[str, Any]:
    return {name: tuple((batch, height, width, 3) for batch in (least, best, most))}


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({}, "no optimization profile has been defined"),
        (_shapes(least=9), "MIN<=OPT<=MAX"),
        (
            _shapes(height=96),
            "Dimension mismatch for tensor images .* has min=96, opt=96, max=96 but tensor has 64",
        ),
        (
            _shapes(width=64),
            "Dimension mismatch for tensor images .* has min=64, opt=64, max=64 but tensor has 32",
        ),
        (_shapes(name="image"), "input tensor images is missing dimensions in profile"),
    ],
    ids=["no profile", "min over opt", "wrong height", "wrong width", "misspelt input"],
)
def test_profiles_that_do_not_fit_are_refused_with_the_librarys_reason(
    trt: ModuleType, exported: Exported, shapes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ReidError, match=f"model.onnx: TensorRT could not .*{reason}") as caught:
        _build(trt, exported.onnx.read_bytes(), shapes)
    assert "\n" not in str(caught.value)
    assert "logger" not in str(caught.value)


def _graph(nodes: list[onnx.NodeProto], half: bool = False) -> bytes:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
    if half:
        inputs.append(helper.make_tensor_value_info("h", TensorProto.FLOAT16, ["n", 4]))
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])]
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("elsewhere", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def test_a_custom_operator_is_named(trt: ModuleType) -> None:
    content = _graph([helper.make_node("Wobble", ["x"], ["y"], name="wobbling", domain="elsewhere")])
    with pytest.raises(ReidError, match=r"tensorrt_rtx cannot parse model.onnx: node 'wobbling' \(Wobble\)"):
        _build(trt, content, {"x": ((1, 4), (2, 4), (3, 4))})


def test_mixed_precisions_in_one_addition_are_refused(trt: ModuleType) -> None:
    content = _graph([helper.make_node("Add", ["x", "h"], ["y"], name="mixed")], half=True)
    shape = ((1, 4), (2, 4), (3, 4))
    with pytest.raises(ReidError, match=r"model.onnx: node 'mixed' \(Add\).*Float and Half"):
        _build(trt, content, {"x": shape, "h": shape})


def test_garbage_is_refused_by_us_and_by_the_library(trt: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(ReidError, match=re.escape(str(path))):
        build_engine(path, tmp_path / "model.plan")
    with pytest.raises(ReidError, match=r"cannot parse model.onnx: .+"):
        _build(trt, path.read_bytes(), {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx"]


def test_unknown_targets_and_modules_list_the_choices(
    trt: ModuleType, exported: Exported, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"target SM90 is unknown to tensorrt_rtx .*: choose from SM75, "):
        build_engine(exported.onnx, tmp_path / "model.plan", targets=("SM90",))
    with pytest.raises(UsageError, match="'tensorflow' is unknown: choose one of tensorrt, tensorrt_rtx"):
        import_tensorrt("tensorflow")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_full_tensorrt_without_a_gpu_says_so(exported: Exported, tmp_path: Path) -> None:
    if current_gpu() is not None:
        pytest.skip("there is a GPU here")
    with pytest.raises(ReidError, match=r"tensorrt (cannot be imported .*\[tensorrt\]|builds on the GPU)"):
        build_engine(exported.onnx, tmp_path / "model.plan", module="tensorrt")


STAMP = EngineStamp(
    module="tensorrt_rtx",
    version="1.7",
    onnx_sha256="ab" * 32,
    profile=(1, 8, 64),
    workspace_mib=1024,
    optimization_level=3,
    targets=("SM86",),
)
GPU = Gpu(name="A10", compute_capability="SM86", driver=13000)


@pytest.mark.parametrize(
    ("stamp", "message"),
    [
        (STAMP.model_copy(update={"version": "1.6"}), "was built by tensorrt_rtx 1.6, installed is 1.7"),
        (STAMP.model_copy(update={"onnx_sha256": "cd" * 32}), "another ONNX file"),
        (STAMP.model_copy(update={"targets": ("SM75", "SM89")}), "is for SM75, SM89, this GPU is SM86"),
        (
            STAMP.model_copy(update={"targets": (), "gpu": GPU.model_copy(update={"name": "A30"})}),
            r"another GPU \(A30 SM86",
        ),
        (
            STAMP.model_copy(update={"targets": (), "gpu": GPU.model_copy(update={"driver": 12080})}),
            "driver 12080",
        ),
    ],
)
def test_an_engine_of_another_version_file_or_gpu_is_refused(stamp: EngineStamp, message: str) -> None:
    check_stamp(STAMP, "model.plan", version="1.7", onnx_sha256="ab" * 32, gpu=GPU)
    check_stamp(
        STAMP.model_copy(update={"targets": (), "gpu": GPU}),
        "model.plan",
        version="1.7",
        onnx_sha256="ab" * 32,
        gpu=GPU,
    )
    with pytest.raises(ReidError, match=f"model.plan .*{message}"):
        check_stamp(stamp, "model.plan", version="1.7", onnx_sha256="ab" * 32, gpu=GPU)


def test_every_setting_changes_the_key_and_the_plan_does_not() -> None:
    changes = {
        "module": "tensorrt",
        "version": "2",
        "onnx_sha256": "00",
        "profile": (1, 8, 32),
        "workspace_mib": 1,
        "optimization_level": 5,
        "targets": ("SM75",),
        "gpu": GPU,
    }
    assert set(changes) == set(EngineStamp.model_fields) - {"format", "plan_sha256"}
    keys = {STAMP.key} | {STAMP.model_copy(update={name: value}).key for name, value in changes.items()}
    assert len(keys) == len(changes) + 1
    assert STAMP.model_copy(update={"plan_sha256": "11"}).key == STAMP.key


def test_a_bad_stamp_is_named(plan: Path) -> None:
    stamp = json.loads(stamp_path(plan).read_text())
    stamp_path(plan).write_text(json.dumps(stamp | {"profile": [1, 8]}))
    with pytest.raises(ReidError, match=r"engine stamp .*model.plan.json: profile.*build the engine again"):
        read_stamp(plan)
    stamp_path(plan).unlink()
    with pytest.raises(UsageError, match=r"engine stamp .*model.plan.json does not exist"):
        read_stamp(plan)
