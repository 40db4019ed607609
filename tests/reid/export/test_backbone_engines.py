"""Every backbone in every precision becomes an ONNX file that runs and a TensorRT-RTX engine that builds. No engine runs here."""

from pathlib import Path

import pytest
import torch

from reid.engine import read_stamp
from reid.export.half import convert_fp16
from reid.export.onnx import export_onnx
from reid.export.parity import measure_parity
from reid.export.quantize import calibrate, quantize_int8
from reid.export.runners import installed_runners
from reid.export.tensorrt import build_engine
from reid.models.backbones import BACKBONES
from reid.models.embedder import ModelSpec, build_model
from reid.models.inference import embed_images
from tests.reid.export.conftest import settled, smooth_crops

# One of each family is quick enough for every run of the tests.
QUICK = ("resnet18", "mobilenet_v2", "osnet_x0_25")
# Random weights, and no layer kept back: this asks whether the files are right, not how good int8 can be made.
LEAST_MEAN_COSINE = {"fp32": 0.99999, "fp16": 0.998, "int8": 0.8}


@pytest.mark.parametrize("backbone", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES])
def test_every_precision_runs_on_the_cpu_and_builds_an_engine(backbone: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    torch.manual_seed(0)
    spec = ModelSpec(backbone=backbone, weights="none", height=64, width=32)
    model = settled(build_model(spec), smooth_crops(8, 64, 32, seed=2))
    crops = smooth_crops(6, 64, 32, seed=1)
    reference = embed_images(model, crops)
    paths = {precision: tmp_path / f"{precision}.onnx" for precision in LEAST_MEAN_COSINE}
    export_onnx(model, spec, paths["fp32"], {})
    convert_fp16(paths["fp32"], paths["fp16"])
    quantize_int8(paths["fp32"], paths["int8"], calibrate(paths["fp32"], crops))
    for precision, path in paths.items():
        for run in installed_runners().values():
            parity = measure_parity(reference, run(path, crops), [str(row) for row in range(len(crops))])
            assert parity.mean > LEAST_MEAN_COSINE[precision], (precision, parity)
        plan = path.with_suffix(".plan")
        build_engine(path, plan, targets=("SM75", "SM86"))
        assert read_stamp(plan).targets == ("SM75", "SM86")
        assert plan.stat().st_size > 0.9 * path.stat().st_size
