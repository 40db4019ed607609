"""Whole files or none: write to a temporary name, fsync, rename. Torch-free.

What holds faces or embeddings is ``private``: nobody but its owner can read it, at no moment and whatever the
umask.
"""

import ctypes
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reid.errors import UsageError
from reid.system_errors import NO_ROOM, os_problem
from reid.text_files import existing, is_there, read_json, read_text, read_yaml, sha256_of

__all__ = [
    "allocate",
    "atomic_directory",
    "atomic_path",
    "existing",
    "is_there",
    "make_parents",
    "make_private",
    "read_json",
    "read_text",
    "read_yaml",
    "remove_empty",
    "sha256_of",
    "write_json",
]

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD of <fcntl.h>, RENAME_EXCHANGE of <linux/fs.h>
_LONGEST_STEM = 60  # of a temporary file's name: with the longest names it would else be too long itself


@contextmanager
def _writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Say in one line that ``path`` cannot be written; errors about files other than ``temporary`` are not
    this one's to explain.
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str | bytes | os.PathLike) else None
        ours = temporary is None or (named is not None and Path(os.fsdecode(named)).is_relative_to(temporary))
        if not ours and error.errno not in NO_ROOM:
            raise
        raise os_problem(error, path) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same suffix; on success it becomes ``path``, on error
    it is removed.

    ``mode`` are the file's permissions, such as 0o600 for what only its owner may read; until it is done
    nobody else can read it anyway. None: as readable as any other output.

    Raises:
        ReidError: the folder or the file cannot be written, or the disk is full.
    """
    path = _file_to_write(path)
    made: list[Path] = []
    try:
        with _writing(path):
            made = make_parents(path)
            handle, name = tempfile.mkstemp(
                prefix=f".{path.stem[:_LONGEST_STEM]}-", suffix=path.suffix, dir=path.parent
            )
            os.close(handle)
    except BaseException:
        remove_empty(made)
        raise
    # A relative one might begin with ~, which some libraries take for somebody's home.
    temporary = Path(name).absolute()
    try:
        with _writing(path, temporary):
            yield temporary
        with _writing(path):
            _sync(temporary)
            # mkstemp makes the file private.
            temporary.chmod(_usual(0o666) if mode is None else mode)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        remove_empty(made)


def _file_to_write(path: Path | str) -> Path:
    """A path that can be that of a file.

    Raises:
        UsageError: it is empty, or a folder.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file to write")
    except OSError as error:
        raise os_problem(error, path) from error
    return path


@contextmanager
def atomic_directory(path: Path | str, *, private: bool = False) -> Iterator[Path]:
    """Yield a fresh temporary directory beside ``path``; on success it replaces ``path`` whole, on error it
    is removed.

    Nobody but its owner can look inside before it is done, and afterwards neither where it is ``private``:
    then all files in it are their owner's alone, too.

    Raises:
        UsageError: ``path`` is the present folder or one above it, which cannot be replaced, or a link.
        ReidError: the folder cannot be written, or the disk is full.
    """
    path = _folder_to_write(path)
    made: list[Path] = []
    try:
        with _writing(path):
            made = make_parents(path)
            temporary = Path(
                tempfile.mkdtemp(prefix=f".{path.name[:_LONGEST_STEM]}-", dir=path.parent)
            ).absolute()
    except BaseException:
        remove_empty(made)
        raise
    try:
        with _writing(path, temporary):
            yield temporary
        with _writing(path):
            if private:
                make_private(temporary)
            else:
                temporary.chmod(_usual(0o777))
            _put(temporary, path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        remove_empty(made)


def _put(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.replace(temporary, path)
        return
    if _exchanged(temporary, path):
        return  # the caller removes what is the old one now
    # A directory cannot be renamed over a full one: move the old one aside first.
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:_LONGEST_STEM]}-old-", dir=path.parent))
    os.replace(path, aside / path.name)
    os.replace(temporary, path)
    shutil.rmtree(aside)


def _exchanged(one: Path, other: Path) -> bool:
    """Swap two directories at one stroke, so that whoever is killed leaves one of them whole in its place;
    False where the system or the disk cannot (it is Linux' ``renameat2``).
    """
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return call is not None and call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _folder_to_write(path: Path | str) -> Path:
    path = Path(path)
    try:
        if path.is_symlink():
            raise UsageError(f"{path} is a link: name the folder that it points to")
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file: name a folder")
        if not path.name or path.name == ".." or Path.cwd().is_relative_to(path.resolve()):
            raise UsageError(
                f"{path} is the present folder or above it: name a new folder, which is written as a whole"
            )
    except OSError as error:
        raise os_problem(error, path) from error
    return path


def make_parents(path: Path) -> list[Path]:
    """Make the folders above ``path``; returns those that were not there, the lowest first."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the lowest first, that have nothing in them: what was begun there has failed."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def make_private(folder: Path) -> None:
    """Take ``folder`` and all in it from everybody but its owner."""
    for place, _, names in os.walk(folder):
        for name in names:
            Path(place, name).chmod(0o600, follow_symlinks=True)
        Path(place).chmod(0o700)


def _usual(mode: int) -> int:
    """A mode less the umask. It is read where the system tells it: asking by changing it would open other
    threads' files meanwhile.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("Umask:")), None)
        if line is not None:
            return mode & ~int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mode & ~mask


def allocate(path: Path, size: int) -> None:
    """Take ``size`` bytes of the disk for an existing file before it is mapped into memory.

    A mapped file that was only promised its space ends the process with SIGBUS on a full disk; this raises
    instead.

    Raises:
        OSError: the disk is full.
    """
    if size and hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)


def write_json(path: Path | str, value: Any, mode: int | None = None) -> None:
    """Write ``value`` as indented JSON with sorted keys, so that equal values are equal bytes; ``mode`` as in
    :func:`atomic_path`.
    """
    with atomic_path(path, mode) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        # A file name that is not UTF-8 holds surrogates, which become JSON's own escapes: \udce9.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
