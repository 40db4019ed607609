"""Every backbone in every precision becomes an ONNX file that runs and a TensorRT-RTX engine that builds. No
engine runs here.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from reid.engine_stamp import EngineStamp, read_stamp
from reid.export.half import convert_fp16
from reid.export.int8 import Int8File
from reid.export.onnx import export_onnx
from reid.export.runners import RUNNERS, installed_runners
from reid.export.tensorrt import build_engine
from reid.models.backbones import BACKBONES
from reid.models.embedder import ModelSpec, build_model
from reid.models.inference import embed_images
from reid.parity import measure_parity
from tests.reid.export.conftest import settled, smooth_crops

# OpenVINO takes seconds to open a file of a deep network: it runs one of each family, ONNX Runtime runs them
# all.
IN_EVERY_RUNTIME = ("resnet18", "mobilenet_v2", "osnet_x0_25")
# Random weights, and no layer kept back: this asks whether the files are right, not how good int8 can be
# made.
LEAST_MEAN_COSINE = {"fp32": 0.99999, "fp16": 0.998, "int8": 0.8}


@dataclass(frozen=True)
class Made:
    """What came of one backbone in one precision."""

    cosines: dict[str, float]  # the mean, by runtime
    stamp: EngineStamp
    onnx_bytes: int
    plan_bytes: int


def make(backbone: str) -> dict[str, Made]:
    """Export, convert, run and build; by precision. Runs in a process of its own: tracing a network keeps one
    processor busy.
    """
    # The files of one backbone are gone before the next: together they would fill two gigabytes.
    with TemporaryDirectory() as folder:
        return made_in(Path(folder), backbone)


def made_in(folder: Path, backbone: str) -> dict[str, Made]:
    """The same in a folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = ModelSpec(backbone=backbone, weights="none", height=64, width=32)
    model = settled(build_model(spec), smooth_crops(8, 64, 32, seed=2))
    crops = smooth_crops(4, 64, 32, seed=1)
    reference = embed_images(model, crops)
    paths = {precision: folder / f"{backbone}.{precision}.onnx" for precision in LEAST_MEAN_COSINE}
    export_onnx(model, spec, paths["fp32"], {})
    convert_fp16(paths["fp32"], paths["fp16"])
    Int8File(paths["fp32"], crops).write(paths["int8"])
    runners = installed_runners() if backbone in IN_EVERY_RUNTIME else {"onnxruntime": RUNNERS["onnxruntime"]}
    made = {}
    for precision, path in paths.items():
        rows = [str(row) for row in range(len(crops))]
        cosines = {
            name: measure_parity(reference, run(path, crops), rows).mean for name, run in runners.items()
        }
        plan = path.with_suffix(".plan")
        build_engine(path, plan, profile=(1, 2, 4), targets=("SM86",), optimization_level=0)
        made[precision] = Made(cosines, read_stamp(plan), path.stat().st_size, plan.stat().st_size)
    return made


@pytest.fixture(scope="module")
def workshop(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[dict[str, Made]]]]:
    """The backbones of the tests that were asked for, two at a time while the tests wait."""
    pytest.importorskip("tensorrt_rtx")
    wanted = [
        item.callspec.params["backbone"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    # Two processes on two processors: a second thread of each would only stand in the way.
    threads = pytest.MonkeyPatch()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        threads.setenv(name, "1")
    request.addfinalizer(threads.undo)
    # Spawned: a fork of a process that has run torch may hang in its thread pool.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield {backbone: pool.submit(make, backbone) for backbone in wanted}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_precision_runs_on_the_cpu_and_builds_an_engine(
    backbone: str, workshop: dict[str, Future[dict[str, Made]]]
) -> None:
    made = workshop[backbone].result()
    assert set(made) == {"fp32", "fp16", "int8"}
    for precision, one in made.items():
        for runtime, cosine in one.cosines.items():
            assert cosine > LEAST_MEAN_COSINE[precision], (precision, runtime)
        assert one.stamp.module == "tensorrt_rtx"
        assert one.stamp.targets == ("SM86",)
        assert one.plan_bytes > 0.9 * one.onnx_bytes
