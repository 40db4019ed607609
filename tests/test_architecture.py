"""The arrows between the packages, and what an import may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in ("reid", "serving", "pipelines")}
ROOMS = (
    *("addresses", "card", "config", "data.catalog", "engine", "errors", "evaluation", "files", "heap", "images", "parquet", "processors"),
    *("data.datasets.files", "pace", "reading", "self_test", "sockets", "system_errors"),
)
TORCH_FREE = tuple(f"reid.{room}" for room in ROOMS)
HEAVY = {"torch", "torchvision", "torchreid", "ray", "mlflow", "dvc"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_there_is_something_to_check() -> None:
    assert all(len(files) > 3 for files in FILES.values())


@pytest.mark.parametrize("path", FILES["reid"], ids=str)
def test_reid_knows_neither_serving_nor_pipelines(path: Path) -> None:
    assert not [name for name in imported(path) if within(name, "serving", "pipelines")]


@pytest.mark.parametrize("path", FILES["serving"], ids=str)
def test_serving_calls_only_torch_free_rooms(path: Path) -> None:
    names = imported(path)
    assert not [name for name in names if within(name, "pipelines")]
    assert not [name for name in names if within(name, "reid") and not within(name, *TORCH_FREE)]
    assert not {name.split(".")[0] for name in names} & (HEAVY - {"ray"})


@pytest.mark.parametrize("module", ["reid", "pipelines.cli", "serving", *TORCH_FREE])
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
