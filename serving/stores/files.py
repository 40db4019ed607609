"""The files that a camera's address stands for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.errors import ReidError
from serving.natural_order import natural_key
from serving.stores.filesystem import file_system, store_problem

__all__ = ["listed", "local_version", "version_of"]

# What tells one version of a file from another, as the drivers call it, the surest first.
_MARKS = ("ETag", "etag", "generation", "md5", "mtime", "LastModified", "last_modified")


def version_of(facts: Mapping[str, Any]) -> str:
    """A file's version, from what a store says of it: its size, and the first mark that it has."""
    mark = next((facts[name] for name in _MARKS if facts.get(name)), "")
    return f"{facts.get('size')} {mark}"


def local_version(path: str) -> str:
    """The version of a file of this machine; '' if there is none."""
    try:
        facts = Path(path).stat()
    except OSError:
        return ""
    return version_of({"size": facts.st_size, "mtime": facts.st_mtime_ns})


def listed(source: str) -> dict[str, str]:
    """The files that an address stands for, in natural order (2 before 10), each with its version.

    Raises:
        UsageError: the store needs a package that is not installed.
        ReidError: there is no such file, or the store refuses.
    """
    from fsspec.core import has_magic

    store, path = file_system(source)
    try:
        if not has_magic(path):
            return {source: version_of(store.info(path))}
        found = {name: facts for name, facts in store.glob(path, detail=True).items() if _is_file(facts)}
        if not found:
            # An empty listing may be that of a bucket that is not there, or not open to us: this one says so.
            store.ls(path.partition("*")[0].rpartition("/")[0] or path, detail=False)
    except ReidError:
        raise
    except Exception as error:  # noqa: BLE001 - each driver has classes of its own
        raise store_problem(source, error) from None
    if not found:
        raise store_problem(source, FileNotFoundError())
    stem = source.removesuffix(path)
    return {stem + name: version_of(found[name]) for name in sorted(found, key=natural_key)}


def _is_file(facts: Mapping[str, Any]) -> bool:
    return facts.get("type") != "directory"
