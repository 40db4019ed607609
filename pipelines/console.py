"""What the stages say while they work: progress bars, and errors as one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.ending import end_with
from pipelines.screen import without_library_lines
from reid.errors import ReidError

__all__ = ["progress_bar", "run_stage", "say"]

_console = Console(stderr=True)


def say(line: str) -> None:
    """Print a line for people, on standard error."""
    _console.print(line, highlight=False)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; the value yielded takes (done, total). It appears with the first call: work that was done before shows nothing."""
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


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; an error meant for people becomes one line and its exit code."""
    try:
        with without_library_lines():
            main()
    except (ReidError, OSError) as error:
        end_with(error)
