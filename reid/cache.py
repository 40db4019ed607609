"""Folders of this user for what may be lost. Torch-free."""

import os
import tempfile
from pathlib import Path

from reid.errors import ReidError

__all__ = ["private_cache"]


def private_cache(name: str) -> Path:
    """The folder ``name-UID`` below ``XDG_CACHE_HOME``, or else below the folder of temporary files; nobody
    but this user can look inside.

    Raises:
        ReidError: it is open to others.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = named if named.is_absolute() else Path(tempfile.gettempdir())
    root = base / f"{name}-{os.getuid()}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = root.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077 or root.is_symlink():
        raise ReidError(f"{root} is open to others: remove it")
    return root
