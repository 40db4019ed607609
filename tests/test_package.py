"""The distribution: what the wheel and the sdist hold, and that the installed wheel works by itself."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.installed import closure, environment, install, library, pinned, pip, python
from tests.serving.tiny_models import tiny_model

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipelines", "reid", "serving")
USE = """
import reid, serving
print(reid.__file__, serving.__file__)
import torch
from reid.losses import build_loss
output = build_loss("batch_hard")(torch.eye(4), torch.tensor([0, 0, 1, 1]))
print(f"loss {float(output.value):.3f}")
import numpy as np
from serving.gallery import Gallery
with Gallery.open("gallery.db", "0" * 64) as gallery:
    gallery.enroll("anna", np.eye(4, dtype=np.float32)[:1], source="a test")
    (((name, _),),) = gallery.search(np.eye(4, dtype=np.float32)[:1], 1)
    print("nearest", name)
"""


def build(source: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *options, str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built: a build leaves files beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and of the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    build(source, out)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_and_sdist_hold_every_file_of_the_packages(source: Path, built: Path, wheel: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        sdist = {name.partition("/")[2] for name in archive.getnames()}
    paths = (path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    wanted = {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}
    assert {f"{name}/py.typed" for name in PACKAGES} | {"serving/job/templates/page.html"} <= wanted
    assert not wanted - contents(wheel).keys() and not wanted - sdist
    tops = {name.split("/")[0] for name in contents(wheel)}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_sdist_builds_the_wheel_of_the_sources(source: Path, wheel: Path, tmp_path: Path) -> None:
    build(source, tmp_path, "--wheel")
    assert contents(tmp_path / wheel.name) == contents(wheel)


def test_the_installed_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Beside the libraries of this environment, which are found after what is installed."""
    env = environment(tmp_path / "env", ())
    install(env, wheel)
    (library(env) / "others.pth").write_text(f"{Path(cv2.__file__).parents[1]}\n")
    (tmp_path / "empty").mkdir()
    done = python(env, "-c", USE, cwd=tmp_path / "empty")
    assert done.returncode == 0, done.stderr
    where, loss, nearest = done.stdout.splitlines()[-3:]
    assert where.count(str(library(env))) == 2
    # Orthogonal unit rows: the hardest positive is as far as the hardest negative, and the margin is left.
    assert loss == "loss 0.300"
    assert nearest == "nearest anna"
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["gallery.db"]


@pytest.mark.slow
def test_serving_works_in_an_environment_without_torch(wheel: Path, tmp_path: Path) -> None:
    """What the image target ``serve`` installs: every serving module imports and the script answers."""
    pins = pinned(ROOT / "requirements" / "serve.txt")
    assert {name: version(name) for name in pins} == pins, "install what requirements/constraints.txt names"
    env = environment(tmp_path / "env", pins)
    install(env, wheel)
    pip(env, "check")
    assert "Would install" not in pip(env, "install", "--dry-run", "--no-index", "reid-pipeline[serve]")
    modules = sorted(path.relative_to(ROOT).with_suffix("") for path in (ROOT / "serving").rglob("*.py"))
    names = [".".join(path.parts).removesuffix(".__init__") for path in modules]
    optional = {"serving.runtime.openvino", "serving.runtime.tensorrt", "serving.stores.sftp"}
    code = f"import importlib\nfor name in {sorted(set(names) - optional)!r}: importlib.import_module(name)"
    done = python(env, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for missing in ("torch", "ray", "mlflow", "dvc"):
        assert python(env, "-c", f"import {missing}", cwd=tmp_path).returncode != 0
    assert "match" in python(env, "reid", "--help", cwd=tmp_path).stdout
    cv2.imwrite(str(tmp_path / "a.png"), np.full((32, 16, 3), 90, np.uint8))
    model = tiny_model(tmp_path / "tiny")
    done = python(env, "reid", "embed", "a.png", "-o", "rows.parquet", "--model", model, cwd=tmp_path)
    assert "1 embeddings written" in done.stdout, done.stderr
    assert done.stderr.startswith("runtime onnxruntime, the only one that can be used")
    done = python(env, "reid", "embed", "a.png", "-o", "rows.parquet", "--model", "rendered", cwd=tmp_path)
    assert "1 embeddings written" in done.stdout, done.stderr
    done = python(env, "reid", "models", "fetch", "mobilenet_v2", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "needs torch" in done.stderr


def test_without_an_extra_the_script_says_which_is_wanted(wheel: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "env", closure("rich", "typer"))
    install(env, wheel)
    pip(env, "check")
    assert "match" in python(env, "reid", "--help", cwd=tmp_path).stdout
    done = python(env, "reid", "gallery", "list", "gallery.db", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'reid-pipeline[serve]'" in done.stderr
