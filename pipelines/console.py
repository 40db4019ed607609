"""What the stages say while they work: progress bars, or lines now and then where nobody sees a bar, and errors as one line."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.ending import end_with
from pipelines.screen import without_library_lines
from reid.errors import ReidError

__all__ = ["progress_bar", "run_stage", "say", "working"]

_console = Console(stderr=True)
_LINE_EVERY_S = 30.0  # where standard error is a file or a pipe: in a log of hours a line a minute is read, one a second is not

Update = Callable[[int, int], None]
"""Takes (done, total)."""


def say(line: str) -> None:
    """Print a line for people, on standard error."""
    _console.print(line, highlight=False, soft_wrap=True)


def progress_bar(what: str) -> AbstractContextManager[Update]:
    """How far a work is; the value yielded takes (done, total).

    A bar at a terminal, which appears with the first call: work that was done before shows nothing. Elsewhere a line every
    ``_LINE_EVERY_S`` seconds with the time so far and the time left, whether there was a call or not.
    """
    return _bar(what) if _console.is_terminal else _lines(what)


@contextmanager
def working(what: str) -> Iterator[None]:
    """As ``progress_bar``, for a step of which nobody can say how far it is."""
    if _console.is_terminal:
        with _console.status(what):
            yield
    else:
        with _lines(what):
            yield


@contextmanager
def _bar(what: str) -> Iterator[Update]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=_console)
    task = progress.add_task(what, total=None)

    def update(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        progress.stop()


@contextmanager
def _lines(what: str) -> Iterator[Update]:
    """The lines come from a thread: a step that takes an hour makes no call meanwhile, and must not look dead."""
    pace, over = _Pace(time.monotonic()), threading.Event()

    def speak() -> None:
        while not over.wait(_LINE_EVERY_S):
            say(f"{what}: {pace.words(time.monotonic())}")

    teller = threading.Thread(target=speak, name="progress", daemon=True)
    teller.start()
    try:
        yield lambda done, total: pace.update(done, total, time.monotonic())
    finally:
        over.set()
        teller.join()


class _Pace:
    """How far a work is and how long it will take, from the times of its updates in seconds."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int, int] | None = None

    def update(self, done: int, total: int, now: float) -> None:
        """Note (done, total) at ``now``."""
        if self._first is None and done > 0:
            # What was done before the first update may be of an earlier run, or have waited for others to start: no measure of pace.
            self._first = now, done
        self._last = now, done, total

    def words(self, now: float) -> str:
        """Such as ``120 of 300, 0:04:10 so far, about 0:06:15 left``."""
        so_far = f"{_clock(now - self._start)} so far"
        if self._last is None:
            return so_far
        at, done, total = self._last
        told = f"{done:,} of {total:,}, {so_far}"
        if self._first is None or done <= self._first[1]:
            return told
        seconds_each = (at - self._first[0]) / (done - self._first[1])
        return f"{told}, about {_clock(max(0.0, (total - done) * seconds_each - (now - at)))} left"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; an error meant for people becomes one line and its exit code."""
    try:
        with without_library_lines():
            main()
    except (ReidError, OSError) as error:
        end_with(error)
