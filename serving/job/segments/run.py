"""All cameras' segments worked through and stored, those that are missing from an earlier run."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.files import read_json
from reid.processors import processors
from serving.job.layout import WorkFolder
from serving.job.progress import Progress
from serving.job.segments.camera import CameraState
from serving.job.segments.execution import Outcome, SegmentTask, in_processes, in_this_process, on_ray
from serving.job.segments.frame_choice import LOOKS
from serving.job.segments.live import LiveCameras, StopRequested
from serving.job.segments.segment import DECODED, OTHERS, frames_of, needed
from serving.runtime import Embedder
from serving.spec import DetectorSpec, Job
from serving.video import SOFTWARE, unseen

__all__ = ["Execution", "run_segments"]


_MOVING = 0.1  # of the frames that were looked at: lamps are not switched so often


@dataclass(frozen=True, slots=True)
class Execution:
    """How a job is worked through: seconds of footage a segment, processes, the address of a Ray cluster
    if there is one, and who is told of each folder of a finished segment.
    """

    segment_s: float = 60.0
    workers: int = 1
    ray: str | None = None
    on_stored: Callable[[Path], None] | None = None


def run_segments(
    runs: Sequence[CameraState],
    job: Job,
    embedder: Embedder,
    work: WorkFolder,
    progress: Progress,
    execution: Execution,
) -> bool:
    """Work through the segments that are not stored yet, and through the streams; whether there was any.

    Each of ``runs`` has afterwards the segments that are stored, their counts and its problems. ``job`` names
    its runtimes (not ``auto``), so that all processes take the same.

    Raises:
        StopRequested: the job is to stop and has no stream, whose end that would be.
    """
    by_camera = {run.camera.id: run for run in runs}
    tasks = _not_stored(runs, job, work, progress, execution)
    left = Counter(task.camera.id for task in tasks)
    live = LiveCameras(runs, job, embedder, work, execution.segment_s, progress.advance)
    try:
        for outcome in _outcomes(tasks, embedder, progress, execution):
            _stored(outcome, by_camera[outcome.task.camera.id], work, progress, execution)
            left[outcome.task.camera.id] -= 1
            if not left[outcome.task.camera.id]:
                _done(by_camera[outcome.task.camera.id], progress)
        live.join()
    except StopRequested:
        if not live:
            raise
        # Streams have no other end: what they and the other cameras have until now is the result.
        live.stop()
        live.join()
        for run in (by_camera[name] for name, count in left.items() if count):
            run.problems.append(
                f"stopped before its end: {left[run.camera.id]} of {len(run.segments)} segments were "
                "not worked through"
            )
            _done(run, progress)
    finally:
        live.stop()
    for run in (run for run in runs if run.footage and run.footage.live):
        _done(run, progress)
    _take_what_is_stored(runs, work)
    _tell_other_classes(runs, job.detector)
    return bool(tasks or live)


def _not_stored(
    runs: Sequence[CameraState], job: Job, work: WorkFolder, progress: Progress, execution: Execution
) -> list[SegmentTask]:
    """The segments still to work through; of the others the progress is told."""
    threads = job.threads
    if threads is None and execution.workers > 1:
        threads = max(1, processors() // execution.workers)
    tasks: list[SegmentTask] = []
    for run in runs:
        if run.footage is None:
            progress.done(run.camera.id, run.problems[0])
            continue
        progress.start(run.camera.id, run.total)
        for segment in run.segments:
            if work.segment(segment.name).path.is_dir():
                _advance(progress, run.camera.id, frames_of(segment, run.camera, run.footage))
            else:
                frames = needed(segment, run.camera, run.footage, run.warm_up)
                tasks.append(SegmentTask(job, run.camera, frames, segment, threads))
    return tasks


def _take_what_is_stored(runs: Sequence[CameraState], work: WorkFolder) -> None:
    """Segments, counts, problems and notes of each camera as the work folder has them."""
    for run in runs:
        run.segments = [segment for segment in run.segments if work.segment(segment.name).path.is_dir()]
        run.counts = {
            segment.name: read_json(work.segment(segment.name).counts, "segment record")
            for segment in run.segments
        }
        run.problems += _undecoded(run)
        run.notes += _moving(run) + _not_in_hardware(run)


def _tell_other_classes(runs: Sequence[CameraState], detector: DetectorSpec) -> None:
    """Where nobody was found in the whole job, say of which other classes there were boxes."""
    others = {run.camera.id: [one.get(OTHERS) for one in run.counts.values()] for run in runs}
    if any(one is None for counts in others.values() for one in counts):
        return  # somebody was found, or the detector has no classes
    for run in runs:
        seen = Counter[str]()
        for counts in others[run.camera.id]:
            seen.update(counts)
        if seen:
            listed = ", ".join(f"{name} in {count} frames" for name, count in seen.most_common(3))
            asked = "" if detector.person_class is None else f" {detector.person_class}"
            run.notes.append(
                f"no box of the class{asked} of people, but of class {listed}: if people are one of these, "
                "say so by detector.person_class (--person-class)"
            )


def _moving(run: CameraState) -> list[str]:
    """That the detector looked at most frames because the camera moves, or that it was moved."""
    looks = [counts.get(LOOKS, {}) for counts in run.counts.values()]
    whole, seen = (sum(one.get(name, 0) for one in looks) for name in ("whole", "looked_at"))
    if whole and whole >= _MOVING * seen:
        return [
            f"most of the picture changed at once in {whole} frames, as with a camera that moves: the "
            "detector looks at every frame then, and no time is saved"
        ]
    moved = [number for one in looks if (number := one.get("moved_at", 0))]
    if not moved:
        return []
    return [
        f"most of the picture changed at once in frame {min(moved)}, as when a camera is moved or covered: "
        "see whether its region still fits, and make two cameras of it by frames if not"
    ]


def _not_in_hardware(run: CameraState) -> list[str]:
    """That some frames were decoded in software, though hardware was there when the job began."""
    decoded = Counter[str]()
    for counts in run.counts.values():
        decoded.update(counts.get(DECODED, {}))
    if len(decoded) < 2:
        return []
    return [f"{decoded[SOFTWARE]} of {decoded.total()} frames were decoded in software, by hardware not"]


def _undecoded(run: CameraState) -> list[str]:
    """What the index promised and reading did not give."""
    ends = [number for counts in run.counts.values() for number in counts.get("missing", [])]
    lost = sum(
        (last - first) // run.camera.step + 1 for first, last in zip(ends[::2], ends[1::2], strict=True)
    )
    if not lost:
        return []
    return [unseen(lost, run.total, ends[0], ends[1])]


def _stored(
    outcome: Outcome, run: CameraState, work: WorkFolder, progress: Progress, execution: Execution
) -> None:
    if outcome.result is not None:
        folder = work.segment(outcome.task.segment.name).path
        outcome.result.store(folder)
        if execution.on_stored is not None:
            execution.on_stored(folder)
        if execution.ray is not None:  # workers of a cluster tell nothing on the way
            _advance(progress, run.camera.id, outcome.result.counts["frames"])
    elif outcome.problem is not None and outcome.problem not in run.problems:
        run.problems.append(outcome.problem)


def _done(run: CameraState, progress: Progress) -> None:
    progress.done(run.camera.id, run.problems[0] if run.problems else None)


def _advance(progress: Progress, camera: str, frames: int) -> None:
    for _ in range(frames):
        progress.advance(camera)


def _outcomes(
    tasks: Sequence[SegmentTask], embedder: Embedder, progress: Progress, execution: Execution
) -> Iterator[Outcome]:
    if not tasks:
        return iter(())
    if execution.ray is not None:
        return on_ray(tasks, execution.ray)
    if execution.workers > 1:
        return in_processes(tasks, execution.workers, progress.advance)
    return in_this_process(tasks, embedder, progress.advance)
