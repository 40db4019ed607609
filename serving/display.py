"""Progress of a job: bars at a terminal, lines now and then in a log, JSON lines for a supervisor, metrics
for Prometheus.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from reid.files import atomic_path
from reid.pace import LINE_EVERY_S, Pace, call_regularly
from serving.job.progress import Progress

__all__ = [
    "BarProgress",
    "CompositeProgress",
    "JsonLinesProgress",
    "LineProgress",
    "MetricsFile",
    "shown_progress",
]


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Bars on standard error where that is a terminal, else lines."""
    if sys.stderr.isatty():
        with BarProgress() as bars:
            yield bars
        return
    lines = LineProgress(sys.stderr)
    with call_regularly(lines.write, LINE_EVERY_S):
        yield lines


class BarProgress(Progress):
    """One bar a camera on standard error, with its rate and the time left; a context manager."""

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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


class LineProgress(Progress):
    """A line for each camera that is under way, whenever :meth:`write` is called."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._cameras: dict[str, tuple[Pace, int, int]] = {}  # the pace, frames done and of how many
        self._finished = 0

    def start(self, camera: str, total: int) -> None:
        """See ``Progress``."""
        self._cameras[camera] = Pace(time.monotonic()), 0, total

    def advance(self, camera: str) -> None:
        """See ``Progress``."""
        pace, done, total = self._cameras[camera]
        self._cameras[camera] = pace, done + 1, total
        pace.update(done + 1, total, time.monotonic())

    def done(self, camera: str, problem: str | None) -> None:
        """See ``Progress``."""
        self._finished += 1
        self._cameras.pop(camera, None)

    def write(self, now: float) -> None:
        """Write the lines; ``now`` as of ``time.monotonic``."""
        lines = [
            f"camera {camera}: {pace.words(now)} (frames)"
            for camera, (pace, *_) in list(self._cameras.items())
        ]
        if not lines and self._finished:
            lines = ["all frames are seen: naming people and writing the results"]
        self._stream.writelines(f"{line}\n" for line in lines)
        self._stream.flush()


@dataclass
class _Camera:
    total: int
    began: float
    frames: int = 0
    written: float = 0.0
    problem: str | None = None


class JsonLinesProgress(Progress):
    """One JSON object a line: ``start``, ``progress`` at most once a second for each camera, ``done``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._cameras: dict[str, _Camera] = {}

    def start(self, camera: str, total: int) -> None:
        """See ``Progress``."""
        self._cameras[camera] = _Camera(total, time.monotonic(), written=time.monotonic())
        self._write(event="start", camera=camera, frames=total or None)

    def advance(self, camera: str) -> None:
        """See ``Progress``."""
        one, now = self._cameras[camera], time.monotonic()
        one.frames += 1
        if now - one.written < 1.0:
            return
        one.written = now
        rate = one.frames / max(now - one.began, 1e-9)
        left = round((one.total - one.frames) / rate, 1) if one.total else None
        self._write(
            event="progress",
            camera=camera,
            done=one.frames,
            frames=one.total or None,
            rate=round(rate, 2),
            seconds_left=left,
        )

    def done(self, camera: str, problem: str | None) -> None:
        """See ``Progress``."""
        frames = self._cameras[camera].frames if camera in self._cameras else 0
        self._write(event="done", camera=camera, done=frames, problem=problem)

    def _write(self, **values: object) -> None:
        self._stream.write(json.dumps(values) + "\n")
        self._stream.flush()


class MetricsFile(Progress):
    """A file in Prometheus' text format, written anew at most once a second, as its node exporter collects
    it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cameras: dict[str, _Camera] = {}
        self._written = 0.0

    def start(self, camera: str, total: int) -> None:
        """See ``Progress``."""
        self._cameras[camera] = _Camera(total, time.monotonic())
        self._write()

    def advance(self, camera: str) -> None:
        """See ``Progress``."""
        self._cameras[camera].frames += 1
        if time.monotonic() - self._written >= 1.0:
            self._write()

    def done(self, camera: str, problem: str | None) -> None:
        """See ``Progress``."""
        self._cameras.setdefault(camera, _Camera(0, time.monotonic())).problem = problem
        self._write()

    def _write(self) -> None:
        now = self._written = time.monotonic()
        families = (
            ("reid_frames_total", "counter", "Frames worked through.", lambda one: one.frames),
            (
                "reid_frames_expected",
                "gauge",
                "Frames that the footage has; 0 for a stream.",
                lambda one: one.total,
            ),
            (
                "reid_camera_failed",
                "gauge",
                "1 where a camera is missing or incomplete.",
                lambda one: int(one.problem is not None),
            ),
            (
                "reid_camera_seconds",
                "gauge",
                "Seconds since the camera was begun.",
                lambda one: round(now - one.began, 3),
            ),
        )
        lines: list[str] = []
        for name, kind, text, value in families:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [
                f'{name}{{camera="{camera}"}} {value(one)}' for camera, one in sorted(self._cameras.items())
            ]
        with atomic_path(self._path) as temporary:
            temporary.write_text("\n".join(lines) + "\n")


class CompositeProgress(Progress):
    """Passes everything on to several others."""

    def __init__(self, others: Sequence[Progress]) -> None:
        self._others = others

    def start(self, camera: str, total: int) -> None:
        """See ``Progress``."""
        for other in self._others:
            other.start(camera, total)

    def advance(self, camera: str) -> None:
        """See ``Progress``."""
        for other in self._others:
            other.advance(camera)

    def done(self, camera: str, problem: str | None) -> None:
        """See ``Progress``."""
        for other in self._others:
            other.done(camera, problem)
