"""How far a long work is: in words, as a progress bar at a terminal, as lines now and then where nobody sees
one. Torch-free.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LINE_EVERY_S", "Pace", "Update", "call_regularly", "paced_lines", "shown_pace"]

Update = Callable[[int, int], None]
"""Takes (done, total)."""

# where standard error is a file or a pipe: in a log of hours a line a minute is read, one a second is not
LINE_EVERY_S = 30.0


class Pace:
    """How far a work is and how long it will take, from the times of its updates in seconds
    (``time.monotonic``).
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int, int] | None = None

    def update(self, done: int, total: int, now: float) -> None:
        """Note (done, total) at ``now``; a ``total`` of 0 is not known."""
        if self._first is None and done > 0:
            # What was done before the first update may be of an earlier run, or have waited for others to
            # start: no measure of pace.
            self._first = now, done
        self._last = now, done, total

    def words(self, now: float) -> str:
        """Such as ``120 of 300, 0:04:10 so far, about 0:06:15 left``."""
        so_far = f"{_clock(now - self._start)} so far"
        if self._last is None:
            return so_far
        at, done, total = self._last
        line = f"{done:,} of {total:,}, {so_far}" if total else f"{done:,}, {so_far}"
        if self._first is None or done <= self._first[1] or not total:
            return line
        seconds_each = (at - self._first[0]) / (done - self._first[1])
        return f"{line}, about {_clock(max(0.0, (total - done) * seconds_each - (now - at)))} left"


@contextmanager
def call_regularly(report: Callable[[float], None], every_s: float = LINE_EVERY_S) -> Iterator[None]:
    """Call ``report`` with the time (``time.monotonic``) every so many seconds, until the block ends.

    The calls come from a thread: a step that takes an hour gives no sign meanwhile, and must not look dead.
    """
    over = threading.Event()

    def speak() -> None:
        while not over.wait(every_s):
            report(time.monotonic())

    teller = threading.Thread(target=speak, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


@contextmanager
def paced_lines(what: str, say: Callable[[str], None], every_s: float = LINE_EVERY_S) -> Iterator[Update]:
    """``say`` every so many seconds how far a work is; the value yielded takes (done, total)."""
    pace = Pace(time.monotonic())
    with call_regularly(lambda now: say(f"{what}: {pace.words(now)}"), every_s):
        yield lambda done, total: pace.update(done, total, time.monotonic())


@contextmanager
def shown_pace(
    what: str, console: "Console", say: Callable[[str], None], every_s: float = LINE_EVERY_S
) -> Iterator[Update]:
    """Show on ``console`` how far a work is; the value yielded takes (done, total).

    A bar at a terminal, which appears with the first call: work that was done before shows nothing. Elsewhere
    :func:`paced_lines`, whether there was a call or not.
    """
    if not console.is_terminal:
        with paced_lines(what, say, every_s) as update:
            yield update
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)
    task = progress.add_task(what, total=None)

    def note(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield note
    finally:
        progress.stop()


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
