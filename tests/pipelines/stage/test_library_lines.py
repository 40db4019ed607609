"""What reaches the screen when libraries complain about a file by themselves: our line and nothing beside
it.
"""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.serving.tiny_models import tiny_model

ROOT = Path(__file__).parents[3]
FILTERED = """
import os, sys, threading, time
from pipelines.stage.library_lines import without_library_lines
with without_library_lines():
    os.write(2, b"libpng error: bad adaptive filter value\\n")
    os.write(2, b"TIFFReadDirectory: Warning, Unknown field\\nfrom a library that we do not know\\n")
    print("from Python", file=sys.stderr)
    os.system("echo from a child >&2")
os.write(2, b"libpng after\\n")
print(sys.stderr is sys.__stderr__, file=sys.stderr)
"""


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=120,
    )


def test_known_lines_are_left_out_and_all_others_pass() -> None:
    lines = run("-c", FILTERED).stderr.splitlines()
    assert sorted(lines) == sorted(
        ["from a library that we do not know", "from Python", "from a child", "libpng after", "True"]
    )


def damaged(path: Path) -> None:
    """A picture whose pixels are damaged, so that the library that reads it has something to say."""
    image = np.random.default_rng(0).integers(0, 255, (64, 32, 3), np.uint8)
    data = bytearray(cv2.imencode(path.suffix, image)[1].tobytes())
    data[len(data) // 3 : len(data) // 2] = os.urandom(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_a_command_says_its_own_line_alone(tmp_path: Path, suffix: str) -> None:
    damaged(tmp_path / f"a{suffix}")
    tiny_model(tmp_path / "model")
    plain = run("-c", f"import cv2; cv2.imread({str(tmp_path / f'a{suffix}')!r})").stderr
    done = run(
        "-m",
        "pipelines.cli",
        "gallery",
        "compare",
        f"a{suffix}",
        f"a{suffix}",
        "--model",
        "model",
        "--threshold",
        "1",
        cwd=tmp_path,
    )
    if suffix != ".tiff":
        assert plain, "the library says something by itself"
    said = [line for line in done.stderr.splitlines() if not line.startswith("reid: ")]
    assert said == [], done.stderr
    assert done.returncode in (0, 1)
    assert (done.returncode == 1) == done.stderr.startswith("reid: ")
