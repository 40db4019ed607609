"""Files of the machine on which a job of a Ray cluster was started, as a store: its other machines read them
by ranges, through Ray's object store.
"""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["FootageServer", "address_of", "read_from"]

_SCHEME = "cluster"
_ANSWER_S = 60.0


def address_of(path: str) -> str:
    """The address by which a worker reads a file that it has not itself."""
    return f"{_SCHEME}://{path}"


class FootageServer:
    """Runs beside the job and gives its footage to the workers; no other file.

    Args:
        paths: of the footage.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = frozenset(paths)

    def facts(self, path: str) -> dict[str, Any] | None:
        """Size and time of a file; None where it has gone, or is none of the job's."""
        if path not in self._paths or not Path(path).is_file():
            return None
        facts = Path(path).stat()
        return {"name": path, "type": "file", "size": facts.st_size, "mtime": facts.st_mtime_ns}

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes of a file; none where it is none of the job's."""
        if path not in self._paths:
            return b""
        with open(path, "rb") as stream:
            stream.seek(start)
            return stream.read(end - start)


@lru_cache(maxsize=1)
def read_from(server: Any) -> None:
    """Let this worker process read ``cluster://`` addresses from a :class:`FootageServer`, a Ray actor."""
    import ray
    from fsspec import AbstractFileSystem, register_implementation

    class Files(AbstractFileSystem):
        protocol = _SCHEME
        cachable = False

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            facts: dict[str, Any] | None = ray.get(server.facts.remote(path), timeout=_ANSWER_S)
            if facts is None:
                raise FileNotFoundError(path)
            return facts

        def cat_file(self, path: str, start: int = 0, end: int = 0, **_: Any) -> bytes:
            data: bytes = ray.get(server.read.remote(path, start, end), timeout=_ANSWER_S)
            return data

    register_implementation(_SCHEME, Files, clobber=True)
