"""A folder in a store, written and read by whole files."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from reid.errors import ReidError
from serving.protocols import scheme_problem
from serving.stores.filesystem import asked_again, file_system, store_problem

__all__ = ["StoredFolder"]

_WAITS_S = (0.2, 1.0, 4.0)  # before each further try
_WRITABLE = ("s3", "gs", "gcs", "az", "abfs", "sftp")
T = TypeVar("T")


class StoredFolder:
    """The files whose addresses begin with ``address``, by their names below it.

    A file appears whole or not at all: object stores do so themselves, on an SFTP server it is renamed.

    Args:
        named: what a refusal calls it, where that is not ``address``.

    Raises:
        UsageError: the store needs a package that is not installed.
        ReidError: the address is none that can be written to.
    """

    def __init__(self, address: str, named: str = "") -> None:
        self.address = address.rstrip("/")
        self._named = named or self.address
        problem = scheme_problem(self.address)
        if problem is None and address.partition("://")[0] not in _WRITABLE:
            problem = f"outputs are written to {', '.join(_WRITABLE)}"
        if problem is not None:
            raise ReidError(f"output {self.address.partition('://')[0]}://...: {problem}")
        self._store, self._root = file_system(self.address, "output", "written")
        self._has_folders = address.startswith("sftp")

    def names(self) -> list[str]:
        """The files, in order."""

        def find() -> list[str]:
            try:
                return [str(path) for path in self._store.find(self._root)]
            except FileNotFoundError:
                return []

        root = self._root.rstrip("/") + "/"
        return sorted(path.removeprefix(root) for path in self._tried(find, "read") if path.startswith(root))

    def bytes_of(self, name: str) -> bytes:
        """The content of a file."""
        return self._tried(lambda: bytes(self._store.cat_file(self._at(name))), "read")

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file here, where it is its owner's alone."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(0o600)
        self._tried(lambda: self._store.get_file(self._at(name), str(path)), "read")

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine there, in place of what is there."""
        self._tried(lambda: self._store.put_file(str(path), self._at(name)), "written")

    def remove(self, name: str) -> None:
        """Remove a file; it may have gone already. A folder that it leaves empty goes with it."""

        def remove() -> None:
            try:
                self._store.rm_file(self._at(name))
            except FileNotFoundError:
                return
            if self._has_folders:
                self._remove_empty(PurePosixPath(self._at(name)).parent)

        self._tried(remove, "written")

    def _remove_empty(self, folder: PurePosixPath) -> None:
        """Remove a folder and those above it, down from this one, as long as nothing is in them."""
        while folder.is_relative_to(self._root):
            try:
                self._store.rmdir(str(folder))
            except OSError:
                return
            folder = folder.parent

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _tried(self, ask: Callable[[], T], done: str) -> T:
        return asked_again(
            self._store, ask, _WAITS_S, lambda error: store_problem(self._named, error, "output", done)
        )
