"""Whole files or none: write to a temporary name, fsync, rename. Torch-free."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reid.errors import ReidError, UsageError

__all__ = ["atomic_directory", "atomic_path", "existing", "read_json", "sha256_of", "write_json"]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same suffix; on success it becomes ``path``, on error it is removed.

    ``mode`` are the file's permissions, such as 0o600 for what only its owner may read; until it is done nobody else can read it
    anyway. None: as readable as any other output.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        # mkstemp makes the file private.
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield a fresh temporary directory beside ``path``; on success it replaces ``path`` whole, on error it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            # A directory cannot be renamed over a full one: move the old one aside first.
            aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            os.replace(path, aside / path.name)
            os.replace(temporary, path)
            shutil.rmtree(aside)
        else:
            os.replace(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, so that equal values are equal bytes."""
    with atomic_path(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        # A file name that is not UTF-8 holds surrogates, which become JSON's own escapes: \udce9.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path | str, what: str = "file") -> Any:
    """Read a JSON file; ``what`` names it in the message.

    Raises:
        UsageError: the file does not exist.
        ReidError: the file is not JSON.
    """
    path = existing(path, what)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ReidError(f"{what} {path} is not JSON ({error}): write it again or restore it") from error


def existing(path: Path | str, what: str = "file") -> Path:
    """Return ``path`` as a Path.

    Raises:
        UsageError: nothing is there.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{what} {path} does not exist: check the path")
    return path


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
