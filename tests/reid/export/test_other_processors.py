"""An int8 file on processors without VNNI, whatever this machine has.

Two stand-ins, each a process of its own: ``ONEDNN_MAX_CPU_ISA=AVX2``, which OpenVINO's oneDNN honours at full
speed, and QEMU's user mode, which shows a processor of 2013 to ONNX Runtime and OpenVINO alike. Both are
first shown a file with weights of the full range, which must come out wrong: else they would stand in for
nothing.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from reid.export.int8 import Int8File, grid, rounding
from tests.reid.export.conftest import smooth_crops

pytest.importorskip("openvino")
QEMU = shutil.which("qemu-x86_64")

# Nothing but the runtimes: under QEMU every import counts.
SCRIPT = """
import json, sys
import numpy as np, onnxruntime, openvino
source, crops, *files = sys.argv[1:]
images = np.load(crops)
def by_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(path, options).run(None, {"images": images})[0]
def by_openvino(path):
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return openvino.Core().compile_model(path, "CPU", options)(images)[0]
def lowest(a, b):
    return float((np.einsum("nd,nd->n", a, b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())
wanted = by_onnxruntime(source)
runs = (by_onnxruntime, by_openvino)
print(json.dumps([{run.__name__[3:]: lowest(run(path), wanted) for run in runs} for path in files]))
"""


@pytest.fixture(scope="module")
def files(positive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The float32 file, crops, the int8 file, and one as it would be with weights of the full range."""
    folder = tmp_path_factory.mktemp("processors")
    images: npt.NDArray[np.uint8] = smooth_crops(16, 64, 32, seed=2)
    np.save(folder / "crops.npy", images[:4])
    Int8File(positive, images).write(folder / "int8.onnx")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(grid, "WEIGHT_LIMIT", 127)
        patched.setattr(rounding, "WEIGHT_LIMIT", 127)
        Int8File(positive, images).write(folder / "full_range.onnx")
    return [str(positive), *(str(folder / name) for name in ("crops.npy", "int8.onnx", "full_range.onnx"))]


def run(command: list[str], files: list[str], **environment: str) -> list[dict[str, float]]:
    done = subprocess.run(
        [*command, "-c", SCRIPT, *files],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_without_vnni_openvino_gives_what_it_gives_with_it(files: list[str]) -> None:
    here, _ = run([sys.executable], files)
    limited, full_range = run([sys.executable], files, ONEDNN_MAX_CPU_ISA="AVX2")
    assert full_range["openvino"] < 0.9, (
        "the limit stands in for nothing: the full range must saturate under it"
    )
    for runtime, lowest in here.items():
        assert lowest > 0.97
        assert limited[runtime] == pytest.approx(lowest, abs=2e-3)


@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed (Debian: qemu-user)")
def test_on_an_emulated_processor_of_2013_both_runtimes_give_the_same(files: list[str]) -> None:
    here, _ = run([sys.executable], files)
    # the environment's own link would start outside the emulator
    python = str(Path(sys.executable).resolve())
    emulated, full_range = run(
        [str(QEMU), "-cpu", "Haswell", python], files, PYTHONPATH=os.pathsep.join(p for p in sys.path if p)
    )
    assert full_range["openvino"] < 0.9, (
        "the emulator stands in for nothing: the full range must saturate in it"
    )
    for runtime, lowest in here.items():
        assert emulated[runtime] == pytest.approx(lowest, abs=2e-3)
