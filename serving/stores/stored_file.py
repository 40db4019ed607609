"""A stored file as Python's file objects are: PyAV seeks and reads in it."""

import io
from typing import Any

from reid.addresses import redacted
from reid.errors import ReidError
from serving.stores.blocks import BLOCK, Blocks, blocks_of_process
from serving.stores.files import version_of
from serving.stores.filesystem import asked_again, file_system, store_problem

__all__ = ["StoredFile"]

_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)  # before each further try of a range that did not come


class StoredFile:
    """Reads a file of a store by ranges, through the blocks that this process keeps.

    PyAV would drop errors that are raised while FFmpeg reads. So what goes wrong ends the file and is kept:
    :meth:`check` raises it.

    Args:
        source: the address.
        version: of the file, as it was listed; None: whatever it is now.

    Raises:
        UsageError: the store needs a package that is not installed.
        ReidError: it is not there, may not be read, or has another version.
    """

    def __init__(self, source: str, version: str | None = None, blocks: Blocks | None = None) -> None:
        self.source, self.name = source, source.rpartition("/")[2]
        self._store, self._path = file_system(source)
        facts = self._facts()
        self.version, self.size = version_of(facts), int(facts.get("size") or 0)
        if version and self.version != version:
            raise self._changed()
        self._blocks = blocks or blocks_of_process()
        self._place = 0
        self._problem: ReidError | None = None
        self._last: tuple[int, bytes] = (-1, b"")
        self._hollow: tuple[int, int] = (0, 0)

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes from where the file stands; none at its end, or after something went wrong."""
        end = self.size if size < 0 else min(self.size, self._place + size)
        parts = []
        try:
            while self._problem is None and self._place < end:
                parts.append(self._piece(end))
                self._place += len(parts[-1])
        except ReidError as error:
            self._problem = error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def tell(self) -> int:
        """As of any file."""
        return self._place

    def hollow_out(self, begin: int, end: int) -> None:
        """Read zeros for the bytes from ``begin`` to ``end`` from now on, without fetching them: for whoever
        needs the sizes of what lies there and not the content.
        """
        self._hollow = begin, end

    def check(self) -> None:
        """Raise what went wrong.

        Raises:
            ReidError: a range did not come however often it was asked for.
        """
        if self._problem is not None:
            raise self._problem

    def check_unchanged(self) -> None:
        """Raise what went wrong, or that the file is not the one that was opened any more.

        Raises:
            ReidError: it is so.
        """
        self.check()
        if version_of(self._facts()) != self.version:
            raise self._changed()

    def _piece(self, end: int) -> bytes:
        """Bytes from where the file stands, to ``end`` at most and not beyond a block."""
        begin, until = self._hollow
        if begin <= self._place < until:
            return bytes(min(end, until) - self._place)
        number, offset = divmod(self._place, BLOCK)
        if self._last[0] != number:
            self._last = number, self._block(number)
        stop = min(end, begin) if begin > self._place else end
        return self._last[1][offset : offset + stop - self._place]

    def _block(self, number: int) -> bytes:
        key = self.source, self.version, number
        data = self._blocks.get(key)
        if data is None:
            first = number * BLOCK
            data = self._fetched(first, min(first + BLOCK, self.size))
            self._blocks.put(key, data)
        return data

    def _fetched(self, first: int, end: int) -> bytes:
        def fetch() -> bytes:
            data: bytes = self._store.cat_file(self._path, start=first, end=end)
            if len(data) != end - first:  # cut off, or a server that knows no ranges
                raise ConnectionError(f"{len(data)} of {end - first} bytes came")
            return data

        return self._tried(fetch, check_version=True)

    def _facts(self) -> dict[str, Any]:
        return self._tried(lambda: dict(self._store.info(self._path)))

    def _tried(self, ask: Any, check_version: bool = False) -> Any:
        def check() -> None:
            # A range beyond the end of a file that was made shorter never comes.
            if version_of(self._facts()) != self.version:
                raise self._changed()

        return asked_again(
            self._store,
            ask,
            _WAITS_S,
            lambda error: store_problem(self.source, error),
            check if check_version else None,
        )

    def _changed(self) -> ReidError:
        return ReidError(
            f"video {redacted(self.source)} has changed since the job looked at it first: run the job again "
            "when nothing writes to it any more"
        )
