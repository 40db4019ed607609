"""Nothing about who runs this is sent or queued: the libraries' switches are set before the libraries are
imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.tiny_models import tiny_model

ROOT = Path(__file__).parents[1]
OPEN = "import sys; from serving.runtime import load; load(sys.argv[1], 'onnxruntime', 1)"
PLAIN = (
    "import sys, onnxruntime, time; onnxruntime.InferenceSession(sys.argv[1] + '/model.onnx'); time.sleep(1)"
)


def leftovers(folder: Path, code: str) -> list[str]:
    """What a process that opens a model leaves in its user's folders."""
    home = folder / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model(folder / "model"))],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


def test_onnx_runtime_queues_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    if not leftovers(tmp_path / "plain", PLAIN):
        pytest.skip("this build of ONNX Runtime has no telemetry")
    (tmp_path / "ours").mkdir()
    assert leftovers(tmp_path / "ours", OPEN) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORT_DISABLE_TELEMETRY", "1"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("MLFLOW_LOGGING_LEVEL", "WARNING"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("GOMP_SPINCOUNT", "5000"),
    ],
)
def test_the_switches_are_set_and_can_be_set_otherwise(name: str, value: str) -> None:
    code = f"import os, serving.runtime; print(os.environ['{name}'])"
    environment = {key: value for key, value in os.environ.items() if key != name} | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout.strip() == value
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | {name: "mine"}
    )
    assert run.stdout.strip() == "mine"


def test_who_says_how_threads_wait_is_heeded() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "ACTIVE"}
    code = "import os, reid; print('GOMP_SPINCOUNT' in os.environ)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout.strip() == "False"
