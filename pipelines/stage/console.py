"""What the stages say while they work: progress bars, or lines now and then where nobody sees a bar, and
errors as one line.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console

from pipelines.stage.failure import end_quickly, end_with
from pipelines.stage.library_lines import without_library_lines
from reid.errors import ReidError
from reid.pace import LINE_EVERY_S, Update, paced_lines, shown_pace

__all__ = ["progress_bar", "run_stage", "say", "working"]

_console = Console(stderr=True)


def say(line: str) -> None:
    """Print a line for people, on standard error."""
    _console.print(line, highlight=False, soft_wrap=True)


def progress_bar(what: str, every_s: float = LINE_EVERY_S) -> AbstractContextManager[Update]:
    """How far a work is, as :func:`reid.pace.shown_pace` shows it; the value yielded takes (done, total)."""
    return shown_pace(what, _console, say, every_s)


@contextmanager
def working(what: str, every_s: float = LINE_EVERY_S) -> Iterator[None]:
    """As ``progress_bar``, for a step of which nobody can say how far it is."""
    if _console.is_terminal:
        with _console.status(what):
            yield
    else:
        with paced_lines(what, say, every_s):
            yield


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; an error meant for people becomes one line and its exit code."""
    end_quickly()
    try:
        with without_library_lines():
            main()
    except (ReidError, OSError) as error:
        end_with(error)
