"""Another distribution named ``reid`` (there is one on PyPI) in the same environment: one clear line,
whichever was installed last.

Stands in for that distribution: a folder of its names. The first line of its package fails, so a test sees
when it is run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What pip would leave of this project in site-packages."""
    for package in ("reid", "serving", "pipelines"):
        shutil.copytree(
            ROOT / package, tmp_path / "site" / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path / "site"


def add_foreign(site: Path) -> None:
    (site / "reid-0.1.0rc1.dist-info").mkdir(parents=True)
    (site / "reid-0.1.0rc1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: reid\nVersion: 0.1.0rc1\n"
    )


def overwrite(site: Path) -> None:
    for name in ("__init__.py", "data/__init__.py"):
        (site / "reid" / name).write_text("raise AttributeError('partially initialized module')\n")


def python(*arguments: str, path: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd
    )


COMMANDS = [
    ("-m", "pipelines.cli", "--help"),
    ("-m", "pipelines.prepare"),
    ("-c", "from pipelines.cli import main; main()"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_foreign_one_was_installed_last(site: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    add_foreign(site)
    overwrite(site)
    done = python(*command, path=str(site), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith(
        f"reid: reid-pipeline's own package reid is somebody else's ({site}/reid/__init__.py): run "
        "`pip uninstall reid`"
    )
    library = python("-c", "import serving", path=str(site), cwd=tmp_path)
    assert library.stderr.splitlines()[-1].startswith(
        "ImportError: reid-pipeline's own package reid is somebody else's"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_ours_was_installed_last(site: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    add_foreign(site)
    done = python(*command, path=str(site), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith(
        f"reid: another package named reid is installed ({site}/reid-0.1.0rc1.dist-info)"
    )
    library = python("-c", "import reid", path=str(site), cwd=tmp_path)
    assert library.stderr.splitlines()[-1].startswith("ImportError: another package named reid is installed")


def test_the_foreign_one_was_uninstalled_and_took_our_files_along(site: Path, tmp_path: Path) -> None:
    (site / "reid" / "__init__.py").unlink()
    done = python("-m", "pipelines.cli", "--help", path=str(site), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("reid: reid-pipeline's own package reid is missing")


def test_an_editable_install_beside_the_foreign_one(site: Path, tmp_path: Path) -> None:
    """Here site-packages comes before the project's folder, as with setuptools' finder."""
    foreign = tmp_path / "foreign"
    (foreign / "reid").mkdir(parents=True)
    (foreign / "reid" / "__init__.py").write_text("raise AttributeError('partially initialized module')\n")
    add_foreign(foreign)
    done = python("-m", "pipelines.cli", "--help", path=f"{foreign}{os.pathsep}{site}", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"somebody else's ({foreign}/reid/__init__.py)" in done.stderr


def test_alone_it_works(site: Path, tmp_path: Path) -> None:
    done = python("-m", "pipelines.cli", "--version", path=str(site), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "reid 0.1.0\n", "")
