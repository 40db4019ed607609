"""Environments that hold chosen distributions of this one, by links: made in a second, nothing downloaded."""

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["closure", "environment", "install", "library", "pinned", "pip", "python"]


def library(folder: Path) -> Path:
    """``site-packages`` of an environment."""
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def pinned(requirements: Path) -> dict[str, str]:
    """The versions in a file that pip-compile wrote, by name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", requirements.read_text(), flags=re.M))


def closure(*names: str) -> set[str]:
    """The distributions and what they require here, extras left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needs = map(Requirement, distribution(name).requires or ())
            waiting += [one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def environment(folder: Path, names: Iterable[str]) -> Path:
    """A new environment with these distributions, without pip; returns its folder."""
    venv.create(folder)
    for name in names:
        for file in distribution(name).files or ():
            top = file.parts[0]  # a package, a module, the metadata, a folder of libraries
            target = library(folder) / top
            if top not in ("..", "__pycache__") and not top.endswith(".pth") and not target.exists():
                target.symlink_to(Path(str(distribution(name).locate_file(top))))
    return folder


def install(folder: Path, wheel: Path) -> None:
    """Install a wheel, without what it requires."""
    pip(folder, "install", "--quiet", "--no-deps", "--no-index", str(wheel))


def pip(folder: Path, *words: str) -> str:
    """What pip of this environment answers about that one."""
    command = [sys.executable, "-m", "pip", "--isolated", "--python", str(folder / "bin" / "python"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=_clean())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(folder: Path, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python; a first word that is no option is one of the environment's scripts."""
    program = [] if str(words[0]).startswith("-") else [folder / "bin" / str(words[0])]
    command = [folder / "bin" / "python", *program, *words[len(program) :]]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=_clean())


def _clean() -> dict[str, str]:
    """Without this repository on Python's path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
