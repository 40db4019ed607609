"""Work done a thread ahead of who uses it, watched: what stands still is an error after a stated time and not
a wait for ever.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from reid.errors import ReidError

__all__ = ["RECONNECT_S", "STALL_S", "Pulse", "StalledError", "ahead", "watched"]

STALL_S = 60.0
RECONNECT_S = 120.0
_STOP_S = 2.0  # in which a thread that was told to stop should have
T = TypeVar("T")


class Pulse:
    """Beats with each sign of life of whoever reads ``name``; :func:`ahead` gives up when it has been still
    for ``stall_s`` seconds. ``decoder`` is what decodes.

    Of streams it also carries how long to try to connect again (``reconnect_s``), the wish to ``stop``, and
    what went wrong on the way (``problems``).
    """

    def __init__(
        self, stall_s: float = STALL_S, reconnect_s: float = RECONNECT_S, stop: threading.Event | None = None
    ) -> None:
        self.stall_s, self.reconnect_s = stall_s, reconnect_s
        self.name = "the footage"
        self.decoder = "software"
        self.beats = 0
        self.bytes_seen = 0  # of a stream's file
        self.problems: list[str] = []
        self._stop = stop

    @property
    def stopped(self) -> bool:
        """Whether no more is wanted."""
        return self._stop is not None and self._stop.is_set()

    def beat(self) -> None:
        """A packet has come, or a frame."""
        self.beats += 1

    def patience(self) -> "_Patience":
        """A new measurement of how long the pulse is still."""
        return _Patience(self)


class StalledError(ReidError):
    """What was read ahead has stood still for too long."""


class _Patience:
    """Counts short waits without a beat. Not the clock: a process that was suspended has not waited."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse, self._beats, self._waited = pulse, pulse.beats, 0.0
        self.slice_s = min(1.0, pulse.stall_s / 4)

    def is_over(self) -> bool:
        """Whether the slice that has just passed in vain was one too many."""
        moved, self._beats = self._pulse.beats != self._beats, self._pulse.beats
        self._waited = 0.0 if moved else self._waited + self.slice_s
        return self._waited >= self._pulse.stall_s


def ahead(items: Iterable[T], size: int, pulse: Pulse | None = None) -> Iterator[T]:
    """Yield ``items`` while a thread prepares up to ``size`` of them; what the thread raises is raised here.

    With a ``pulse`` that the items beat: nothing waits longer than its ``stall_s`` for a thread that has
    stopped beating. Such a thread cannot be ended; it is left alone, and does not keep the process from
    ending.

    Raises:
        ReidError: the pulse was still for too long.
    """
    box: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=max(1, size))
    stop = threading.Event()

    def offer(item: tuple[T | None, BaseException | None]) -> None:
        while not stop.is_set():
            try:
                box.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                offer((item, None))
                if stop.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that reads
            offer((None, error))
        else:
            offer((None, StopIteration()))
        finally:
            # Here and not where the garbage collector finds it: closing waits for the decoder's threads.
            if isinstance(items, Generator):
                items.close()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    stalled = False
    try:
        while True:
            item, error = box.get() if pulse is None else (_take(box, pulse) or (None, StopIteration()))
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    except StalledError:
        stalled = True
        raise
    finally:
        stop.set()
        if not stalled:
            _join(worker, pulse)


def watched(function: Callable[[], T], pulse: Pulse) -> T:
    """``function()``, given up as in :func:`ahead` when its pulse stands still."""
    (value,) = ahead((function() for _ in range(1)), 1, pulse)
    return value


def _take(box: queue.Queue[T], pulse: Pulse) -> T | None:
    patience = pulse.patience()
    while True:
        try:
            return box.get(timeout=patience.slice_s)
        except queue.Empty:
            if pulse.stopped:
                return None
            if patience.is_over():
                raise StalledError(
                    f"video {pulse.name}: nothing came for {pulse.stall_s:g} s: given up; check the "
                    "disk, the network and the file"
                ) from None


def _join(worker: threading.Thread, pulse: Pulse | None) -> None:
    if pulse is None:
        worker.join()
        return
    # Whoever is in the middle of a frame comes to its end; whoever stands still has had its time already.
    waits = 0
    patience = pulse.patience()
    while worker.is_alive() and waits * patience.slice_s < (
        min(_STOP_S, pulse.stall_s) if pulse.stopped else pulse.stall_s
    ):
        worker.join(patience.slice_s)
        waits += 1
