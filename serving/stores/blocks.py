"""Blocks of remote files on the local disk: what was fetched is not fetched again while there is room."""

import os
import tempfile
import threading
from collections import OrderedDict
from functools import lru_cache

from reid.errors import UsageError

__all__ = ["BLOCK", "Blocks", "blocks_of_process"]

BLOCK = 4 * 2**20  # bytes that are fetched at a time
_LIMIT = 2**30
_VARIABLE = "REID_CACHE_BYTES"


class Blocks:
    """The blocks used last, ``limit`` bytes of them, in one file without a name.

    Such a file is open to nobody else, and the system removes it with the process, however that ends.
    """

    def __init__(self, limit: int) -> None:
        self._slots = limit // BLOCK
        self._file = tempfile.TemporaryFile(prefix="reid-", buffering=0)  # noqa: SIM115 - open as long as this
        self._places: OrderedDict[tuple[str, str, int], tuple[int, int]] = OrderedDict()  # slot, length
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, int]) -> bytes | None:
        """The block of a file, by address, version and number; None if it is not here."""
        with self._lock:
            if (place := self._places.get(key)) is None:
                return None
            self._places.move_to_end(key)
            slot, length = place
            return os.pread(self._file.fileno(), length, slot * BLOCK)

    def put(self, key: tuple[str, str, int], data: bytes) -> None:
        """Keep a block, in place of the one not used for longest; a full disk keeps none."""
        with self._lock:
            if key in self._places or not self._slots:
                return
            full = len(self._places) >= self._slots
            slot = self._places.popitem(last=False)[1][0] if full else len(self._places)
            try:
                written = os.pwrite(self._file.fileno(), data, slot * BLOCK)
            except OSError:
                written = -1
            if written == len(data):
                self._places[key] = slot, len(data)
            else:
                self._slots = 0  # nothing is kept from here on, and what was is no longer counted right
                self._places.clear()


@lru_cache(maxsize=1)
def blocks_of_process() -> Blocks:
    """Those that all readers of this process share; ``REID_CACHE_BYTES`` says how many bytes, 1 GiB without
    it.
    """
    given = os.environ.get(_VARIABLE, str(_LIMIT))
    if not given.isdecimal():
        raise UsageError(f"{_VARIABLE} is {given!r}: want a number of bytes, 0 for no cache")
    return Blocks(int(given))
