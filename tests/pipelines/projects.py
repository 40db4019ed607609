"""Folders like a user's: a git and DVC repository with the project's code and parameters of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path, code: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with the project's code there or in ``code``."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(code or cwd),
    }
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)


def project(folder: Path, file: str = "params.yaml", **sections: dict[str, Any]) -> Path:
    """A git and DVC repository with the project's code and its parameters, or those of another ``file``,
    sections replaced by keys.
    """
    for name in ("reid", "serving", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / file).read_text())
    for objective in params["objectives"].values():
        objective |= {"steps": None, "learning_rate": None}
    for name, keys in sections.items():
        params[name] |= keys
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"]):
        assert run(*command, cwd=folder).returncode == 0
    assert (
        run(
            "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start", cwd=folder
        ).returncode
        == 0
    )
    return folder


def change(folder: Path, section: str, key: str, value: object) -> Path:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params[section][key] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder
