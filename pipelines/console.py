"""What the stages say while they work: progress bars, or lines now and then where nobody sees a bar, and
errors as one line.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.failure import end_quickly, end_with
from pipelines.library_lines import without_library_lines
from reid.errors import ReidError
from reid.pace import LINE_EVERY_S, paced_lines

__all__ = ["progress_bar", "run_stage", "say", "working"]

_console = Console(stderr=True)

Update = Callable[[int, int], None]
"""Takes (done, total)."""


def say(line: str) -> None:
    """Print a line for people, on standard error."""
    _console.print(line, highlight=False, soft_wrap=True)


def progress_bar(what: str, every_s: float = LINE_EVERY_S) -> AbstractContextManager[Update]:
    """How far a work is; the value yielded takes (done, total).

    A bar at a terminal, which appears with the first call: work that was done before shows nothing. Elsewhere
    a line every ``every_s`` seconds with the time so far and the time left, whether there was a call or
    not.
    """
    return _bar(what) if _console.is_terminal else paced_lines(what, say, every_s)


@contextmanager
def working(what: str, every_s: float = LINE_EVERY_S) -> Iterator[None]:
    """As ``progress_bar``, for a step of which nobody can say how far it is."""
    if _console.is_terminal:
        with _console.status(what):
            yield
    else:
        with paced_lines(what, say, every_s):
            yield


@contextmanager
def _bar(what: str) -> Iterator[Update]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=_console)
    task = progress.add_task(what, total=None)

    def update(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        progress.stop()


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; an error meant for people becomes one line and its exit code."""
    end_quickly()
    try:
        with without_library_lines():
            main()
    except (ReidError, OSError) as error:
        end_with(error)
