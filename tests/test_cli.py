"""The console script as a person meets it: in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

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
        (["params", "other.yaml"], "rendered are of backbone mobilenet_v2, not of resnet18", 2),
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
    other = yaml.safe_load((ROOT / "params.yaml").read_text())
    other["model"] |= {"backbone": "resnet18", "weights": "rendered"}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
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
