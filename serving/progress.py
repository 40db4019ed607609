"""Progress of a job for a person at a terminal: one bar a camera, with its rate and the time left."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from serving.worker import Progress

__all__ = ["BarProgress"]


class BarProgress(Progress):
    """Bars on standard error; a context manager."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._bars = Bars(*columns, console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def start(self, camera: str, total: int) -> None:
        """See ``Progress``."""
        self._tasks[camera] = self._bars.add_task(f"camera {camera}", total=total or None, rate="")

    def advance(self, camera: str) -> None:
        """See ``Progress``."""
        task = self._tasks[camera]
        speed = self._bars.tasks[task].speed
        self._bars.update(task, advance=1, rate="" if speed is None else f"{speed:.1f} frames/s")

    def done(self, camera: str, problem: str | None) -> None:
        """See ``Progress``."""
        if camera not in self._tasks:
            self._tasks[camera] = self._bars.add_task(f"camera {camera}", total=1, rate="")
        task = self._tasks[camera]
        self._bars.update(task, description=f"camera {camera}" + (" (incomplete)" if problem else ""))
        self._bars.stop_task(task)
