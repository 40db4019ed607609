"""The console script as a person meets it: in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.serving.tiny_models import tiny_model

ROOT = Path(__file__).parents[1]


def reid(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )


def test_help_lists_the_commands() -> None:
    done = reid("--help")
    assert done.returncode == 0
    for command in ("embed", "match", "score", "report", "crops", "gallery", "models", "params"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["match", "none.yaml", "--out", "x"], "none.yaml does not exist", 2),
        (["gallery", "list", "none.db"], "none.db does not exist", 2),
        (["gallery", "list", "text.db"], "text.db", 1),
        (["embed", "none.jpg", "--model", "model", "-o", "e.parquet"], "none.jpg does not exist", 2),
        (["embed", "a.png", "--model", "none", "-o", "e.parquet"], "none does not exist", 2),
        (["embed", "a.png", "--model", "model", "-o", "e.parquet"], "model.onnx", 1),
        (["score", "nowhere", "--truth", "gt.txt"], "nowhere", 2),
        (["report", "nowhere"], "nowhere", 2),
        (["params", "bad.yaml"], "stepz", 2),
        (["models", "fetch", "resnet9000", "--out", "weights"], "resnet9000", 2),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: list[str], message: str, code: int
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 32, 3), np.uint8))
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "text.db").chmod(0o600)
    (tmp_path / "bad.yaml").write_text((ROOT / "params.yaml").read_text() + "stepz: 3\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_bytes(b"cut off")
    card = {
        "name": "m",
        "dim": 4,
        "input": {"height": 8, "width": 4},
        "files": {"fp32": {"path": "model.onnx"}},
    }
    (tmp_path / "model" / "model.json").write_text(json.dumps(card))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = reid(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("reid: ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_serving_works_in_an_environment_without_torch(tmp_path: Path) -> None:
    """What the image target ``serve`` installs, in a fresh environment: every serving module imports and the
    script answers.
    """
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(ROOT / "requirements" / "serve.txt")], check=True, capture_output=True)
    source = tmp_path / "source"  # built from a copy: a build leaves files beside what it builds
    for package in ("reid", "serving", "pipelines"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([*pip, "--no-deps", str(source)], check=True, capture_output=True)
    modules = sorted(path.relative_to(ROOT).with_suffix("") for path in (ROOT / "serving").rglob("*.py"))
    names = [".".join(path.parts).removesuffix(".__init__") for path in modules]
    optional = {"serving.runtime.openvino", "serving.runtime.tensorrt", "serving.job.segments.execution"}
    code = f"import importlib\nfor name in {sorted(set(names) - optional)!r}: importlib.import_module(name)"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for missing in ("torch", "ray", "mlflow", "dvc"):
        assert subprocess.run([str(python), "-c", f"import {missing}"], capture_output=True).returncode != 0
    script = tmp_path / "env" / "bin" / "reid"
    assert (
        "match" in subprocess.run([str(script), "--help"], capture_output=True, text=True, check=True).stdout
    )
    cv2.imwrite(str(tmp_path / "a.png"), np.full((32, 16, 3), 90, np.uint8))
    embed = [
        script,
        "embed",
        tmp_path / "a.png",
        "-o",
        tmp_path / "rows.parquet",
        "--model",
        tiny_model(tmp_path / "tiny"),
    ]
    done = subprocess.run(embed, capture_output=True, text=True)
    assert "1 embeddings written" in done.stdout, done.stderr
    assert done.stderr.startswith("runtime onnxruntime, the only one that can be used")
    fetch = subprocess.run([str(script), "models", "fetch", "mobilenet_v2"], capture_output=True, text=True)
    assert (fetch.returncode, fetch.stderr.count("\n")) == (2, 1)
    assert "needs torch" in fetch.stderr
