"""Where a run came from: code, packages, machine."""

import importlib.metadata
import platform
import subprocess

__all__ = ["installed_packages", "provenance"]

_NAMED = ("torch", "numpy", "ray", "mlflow", "opencv-python")
"""Packages whose versions a run carries as tags; all others are in its file of installed packages."""


def provenance() -> dict[str, str]:
    """The git commit, whether the work tree differs from it (``unknown`` outside a repository), and the
    versions that matter most.
    """

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:  # a container without git
        commit = changes = None
    facts = {
        "git_commit": commit or "unknown",
        "git_dirty": "unknown" if changes is None else str(bool(changes)).lower(),
    }
    facts |= {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    return facts | {f"version.{name}": _version(name) for name in _NAMED}


def installed_packages() -> str:
    """Every installed distribution as ``name==version``, a line each, sorted: what ``pip install -r``
    takes.
    """
    found = {(one.metadata["Name"] or "").lower(): one.version for one in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
