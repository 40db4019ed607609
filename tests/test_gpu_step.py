"""`benchmarks/gpu_step.py` where there is nothing but torch and what its head names: the machine with a GPU
has no more.
"""

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "benchmarks/gpu_step.py"
SMALL = "--steps 6 --rounds 1 --height 32 --width 16 --identities 2 --images 2 --threads 1 --json"


def with_what_they_need(names: list[str]) -> list[Distribution]:
    """What is installed of these and of what they require, but no extras."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of another platform
            continue
        lines = found[name].requires or []
        waiting += [re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line]
    return list(found.values())


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to torch, torchvision and the packages that the benchmark's head names."""
    folder = tmp_path_factory.mktemp("packages")
    (wheels,) = re.findall(r"pip download --no-deps -d wheels ([^:]+?)\n\n", PROGRAM.read_text())
    named = [distribution(name) for name in wheels.replace("\\", " ").split()]
    for one in [*with_what_they_need(["torch", "torchvision"]), *named]:
        for name in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            link = folder / name
            if not link.exists():
                link.symlink_to(Path(str(one.locate_file(name))))
    return folder


def run(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """By a Python that knows no packages but those."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{packages}", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def test_it_needs_no_more_than_its_head_says(packages: Path) -> None:
    done = run(packages, str(PROGRAM), *SMALL.split())
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["device"] == "cpu"
    assert set(found["images_per_second"]) == {"whole", "alone"}
    assert found["ratios"]["host_share"] == pytest.approx(found["whole_to_alone"] - 1, abs=2e-3)


def test_what_it_does_without_is_not_there(packages: Path) -> None:
    without = ["ray", "mlflow", "dvc", "cv2", "pyarrow", "timm", "torchreid", "pandas", "onnx", "sklearn"]
    asked = f"from importlib.util import find_spec\nprint([name for name in {without} if find_spec(name)])"
    assert run(packages, "-c", asked).stdout == "[]\n"
