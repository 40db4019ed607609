"""A segment as a task for whoever works it through, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from reid.errors import ReidError
from reid.memory import give_back_memory, share_heap
from serving.detection import build_detector
from serving.job.segments.segment import Segment, SegmentResult, process_segment
from serving.runtime import Embedder, load
from serving.spec import Camera, Job
from serving.tracking import TrackletBuilder
from serving.video import Footage, StalledError

__all__ = ["Failed", "Outcome", "SegmentTask", "Stalls", "embedder_of", "tried"]

_STALLS = 2  # of a camera, after which its other segments are not tried


@dataclass(frozen=True)
class SegmentTask:
    """A segment and all that is needed to work through it."""

    job: Job
    camera: Camera
    footage: Footage
    segment: Segment
    threads: int | None


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a result, or what is wrong with its camera."""

    task: SegmentTask
    result: SegmentResult | None
    problem: str | None = None


def work_through(task: SegmentTask, embedder: Embedder, on_frame: Callable[[], None]) -> SegmentResult:
    """Detect, track and embed one segment.

    Raises:
        ReidError: the camera's footage cannot be read.
    """
    share_heap()
    detector = build_detector(task.job.detector, task.camera, task.threads)
    builder = TrackletBuilder(task.job.tracker, task.job.crops, task.footage.fps / task.camera.step)
    result = process_segment(
        task.segment,
        task.camera,
        task.footage,
        detector,
        builder,
        embedder,
        on_frame,
        task.job.stall_s,
        task.job.idle,
        task.job.adaptive,
    )
    give_back_memory()  # or what each segment's threads leave behind adds up over a long job
    return result


@dataclass(frozen=True)
class Failed:
    """Why a task has no result. Errors travel as text: a cluster wraps exceptions in classes of its own."""

    problem: str
    stalled: bool = False


def tried(task: SegmentTask, embedder: Embedder, on_frame: Callable[[], None]) -> SegmentResult | Failed:
    """:func:`work_through`, with what is wrong with the camera's footage as a value."""
    try:
        return work_through(task, embedder, on_frame)
    except ReidError as error:
        return Failed(str(error), isinstance(error, StalledError))


class Stalls:
    """Cameras whose footage stood still again and again: the rest of their segments is not waited for."""

    def __init__(self) -> None:
        self._problems: dict[str, list[str]] = {}

    def outcome(self, task: SegmentTask, value: SegmentResult | Failed) -> Outcome:
        """What came of a task; a stall is remembered."""
        if not isinstance(value, Failed):
            return Outcome(task, value)
        if value.stalled:
            self._problems.setdefault(task.camera.id, []).append(value.problem)
        return Outcome(task, None, value.problem)

    def give_up(self, task: SegmentTask, problem: str) -> None:
        """Try no other segment of the task's camera."""
        self._problems[task.camera.id] = [problem] * _STALLS

    def given_up(self, task: SegmentTask) -> Outcome | None:
        """The outcome of a task that is not tried any more; None of one that is."""
        problems = self._problems.get(task.camera.id, [])
        return Outcome(task, None, problems[0]) if len(problems) >= _STALLS else None


@lru_cache(maxsize=1)
def embedder_of(model: str, backend: str, threads: int | None, precision: str) -> Embedder:
    """The model of a worker process, loaded once."""
    return load(model, backend, threads, precision=precision)
