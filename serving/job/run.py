"""The camera worker: a job in, an output folder out.

Footage is cut into segments that are stored one by one in a hidden folder beside the output; a job that was
stopped goes on with the segments that are missing. The output folder itself appears whole when everything is
done.
"""

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reid.addresses import redacted
from reid.card import load_card
from reid.errors import ReidError, UsageError
from reid.files import is_there, make_parents, read_json, remove_empty, write_json
from reid.processors import processors
from serving.detection import Detector, NetworkDetector, build_detector
from serving.gallery import Gallery, key_from_environment
from serving.job.kept import finished_with, inputs_of, ledger_of, take_up
from serving.job.layout import JobFolder, WorkFolder, open_job
from serving.job.outputs import write_outputs
from serving.job.record import FinishedRecord, JobFacts
from serving.job.segments.camera import CameraRun, problem_lines
from serving.job.segments.execution import Outcome, SegmentTask, in_processes, in_this_process, on_ray
from serving.job.segments.live import LiveCameras, StopRequested
from serving.job.segments.segment import OTHERS, frames_of, needed, plan_segments
from serving.job.stranger_file import read_earlier
from serving.matching import open_pair_scorer
from serving.runtime import Embedder, load, present_backends
from serving.spec import Camera, DetectorSpec, Job, source_files
from serving.tracking import SPARSE_S
from serving.video import open_footage, unseen

__all__ = ["Execution", "JobResult", "Progress", "StopRequested", "run_job"]


@dataclass(frozen=True)
class JobResult:
    """What a job came to. ``problems`` has one line for each camera that is missing or incomplete."""

    out: Path
    summary: dict[str, Any]
    problems: tuple[str, ...]
    runtime: str = ""  # how ``auto`` came to it
    notes: tuple[str, ...] = ()  # what was decided about the footage
    unchanged: bool = False  # an earlier run had done it all
    seen_before: bool = False  # an earlier run had seen everything: people were only named anew
    detector: str = ""  # its layout and runtime, where it is a file


class Progress:
    """What a job reports while it works; this one says nothing."""

    def start(self, camera: str, total: int) -> None:
        """A camera begins; ``total`` frames, 0 when unknown."""

    def advance(self, camera: str) -> None:
        """One frame is done."""

    def done(self, camera: str, problem: str | None) -> None:
        """A camera is finished, or has failed with ``problem``."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How a job is worked through: seconds of footage a segment, processes, and the address of a Ray cluster
    if there is one.
    """

    segment_s: float = 60.0
    workers: int = 1
    ray: str | None = None


def run_job(
    job: Job, out: Path | str, progress: Progress | None = None, execution: Execution | None = None
) -> JobResult:
    """Work through a job and write its output folder.

    Raises:
        UsageError: the output folder belongs to something else, or the model has no threshold for the policy.
        ReidError: model, gallery or detector cannot be used, or no camera of the job could be read at all.
    """
    with ExitStack() as opened:
        return _run_job(job, Path(out), progress or Progress(), execution or Execution(), opened)


def _run_job(job: Job, out: Path, progress: Progress, execution: Execution, opened: ExitStack) -> JobResult:
    began = time.perf_counter()
    check_output(job, out)
    finished = WorkFolder.of_finished(out).path
    if finished.exists():  # a job was killed when all but this was done
        shutil.rmtree(finished)
    embedder = load(job.model, _backend(job, out), job.threads, precision=job.precision)
    threshold, threshold_from = decision_threshold(job, embedder)
    gallery = _open_gallery(job, embedder.fingerprint, opened)
    gallery.index()  # all of it is read now: what is wrong in it is said before the work, not after it
    scorer = open_pair_scorer(job.model) if job.rescore else None
    # what cannot be used is said before the work, not after it
    read_earlier(job.earlier, embedder.fingerprint)
    decision = {
        "policy": job.policy,
        "top_k": job.top_k,
        "ratio_test": job.ratio_test,
        "rescore": job.rescore,
        "threshold": threshold,
        "from": threshold_from,
    }
    ledger = ledger_of(job, embedder, execution.segment_s)
    inputs = inputs_of(job, ledger, decision, gallery)
    if (record := finished_with(out, inputs)) is not None:
        return JobResult(out, record.as_dict(), (), embedder.chosen, tuple(record.notes), unchanged=True)
    detectors = [build_detector(job.detector, camera, job.threads) for camera in job.cameras]
    runs = [_prepare(camera, job, execution.segment_s) for camera in job.cameras]
    for run, detector in zip(runs, detectors, strict=True):
        run.warm_up = detector.warm_up
    if all(run.footage is None for run in runs):
        problems = problem_lines(runs)
        raise ReidError(
            problems[0]
            if len(problems) == 1
            else f"no camera of the job can be read; the first: {problems[0]}"
        )
    opened.callback(remove_empty, make_parents(out))
    work = _work_folder(out, ledger, embedder.dim)
    opened.callback(_remove_empty, work)  # where nothing was stored, there is nothing to go on with
    seen_before = not _run_segments(
        runs, _settled(job, embedder, detectors), embedder, work, progress, execution
    )
    facts = JobFacts.model_validate(
        {
            "job": job.public(),
            "job_key": job.key(),
            "seen_key": job.seen_key(),
            "inputs": inputs,
            "model": {
                "name": embedder.card.name,
                "fingerprint": embedder.fingerprint,
                "backend": embedder.backend,
                "precision": embedder.precision,
            },
            "gallery": {
                "version": gallery.version,
                "identities": sorted(person.identity for person in gallery.people()),
            },
            "decision": decision,
        }
    )
    summary = write_outputs(job, runs, gallery, threshold, scorer, work, out, facts, began)
    work.path.rename(finished)  # at one stroke: what is left of it is of a job that is done
    shutil.rmtree(finished)
    return JobResult(
        out,
        summary,
        tuple(summary["problems"]),
        embedder.chosen,
        tuple(summary["notes"]),
        seen_before=seen_before,
        detector=_line_of(detectors[0]),
    )


def _line_of(detector: Detector) -> str:
    """What a detector's file was recognised as, and how ``auto`` came to its runtime."""
    if not isinstance(detector, NetworkDetector):
        return ""
    chosen = f"; {detector.model.chosen}" if detector.model.chosen else ""
    return f"{detector}{chosen}"


def _open_gallery(job: Job, fingerprint: str, opened: ExitStack) -> Gallery:
    """The job's gallery; one with nobody in it where the job names none, so that all that follows is the same
    for both.
    """
    if job.gallery is not None:
        known = Gallery.open(
            job.gallery, fingerprint, create=False, key=key_from_environment(), read_only=True
        )
    else:
        folder = opened.enter_context(TemporaryDirectory(prefix="reid-gallery-"))
        known = Gallery.open(Path(folder) / "nobody.db", fingerprint, create=True)
    opened.enter_context(known)
    return known


def check_output(job: Job, out: Path) -> None:
    """Refuse an output folder that holds something else than this job's earlier output.

    Raises:
        UsageError: it does.
    """
    if out.is_symlink():
        raise UsageError(f"output {out} is a link: name the folder that it points to")
    if not out.name or out.name == ".." or Path.cwd().is_relative_to(out.resolve()):
        raise UsageError(f"output {out} is the present folder or above it: name a new folder")
    if not is_there(out, "output") or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise UsageError(f"output {out} is a file: name a folder")
    if not JobFolder(out).record.is_file():
        raise UsageError(
            f"output folder {out} holds something else than a job's output: name an empty or new folder"
        )
    record = open_job(out, FinishedRecord).record
    if record.job_key != job.key() and record.seen_key != job.seen_key():
        raise UsageError(f"output folder {out} is that of another job: name a new folder or remove it")


def decision_threshold(job: Job, embedder: Embedder) -> tuple[float, str]:
    """The distance up to which a name is given, and where it is from: the job, or the model card.

    Raises:
        UsageError: neither says.
    """
    if job.threshold is not None:
        return job.threshold, "job"
    for unit in ("tracklet", "image"):
        calibrated = embedder.card.threshold(job.policy, unit, job.top_k)
        if calibrated is not None:
            return calibrated.distance, f"model card, calibrated for one {unit}"
    of = f" of {job.top_k}" if job.policy == "top_k" else ""
    raise UsageError(
        f"model {job.model} has no calibrated threshold for the policy {job.policy!r}{of}: run reid "
        f"calibrate {job.model} with pictures "
        "of people, or set threshold in the job (--threshold)"
    )


def _backend(job: Job, out: Path) -> str:
    """The runtime to open the model with: that of the stored segments, so that all rows of a job are made by
    one.
    """
    if job.backend != "auto":
        return job.backend
    stored = [folder.read_ledger().get("backend") for folder in (WorkFolder.of(out), JobFolder(out).kept)]
    named = [backend for backend in stored if isinstance(backend, str)]
    present = present_backends(load_card(Path(job.model)), job.precision) if named else {}
    return next((backend for backend in named if backend in present), job.backend)


def _work_folder(out: Path, ledger: dict[str, Any], dim: int) -> WorkFolder:
    stored = WorkFolder.of(out)
    work = stored.path
    if work.is_symlink() or (work.exists() and not work.is_dir()):
        raise UsageError(f"{work} is in the way of the segments that are stored there: move it")
    if work.exists() and stored.read_ledger() != ledger:
        if not stored.ledger.is_file() and any(
            not path.name.startswith(".ledger") for path in work.iterdir()
        ):
            raise UsageError(f"{work} is in the way and not from an earlier run: move it")
        shutil.rmtree(work)
    if not work.exists():
        take_up(out, stored, ledger, dim)
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What a job that was killed while it wrote its output left of it.
    for half in (
        path
        for path in out.parent.glob(f".{escape(out.name)}-*")
        if re.fullmatch(r"[a-z0-9_]{8}", path.name[len(out.name) + 2 :])
    ):
        shutil.rmtree(half, ignore_errors=True)
    write_json(stored.ledger, ledger)
    return stored


def _remove_empty(work: WorkFolder) -> None:
    if work.path.is_dir() and all(path.is_file() for path in work.path.iterdir()):
        shutil.rmtree(work.path)


def _prepare(camera: Camera, job: Job, segment_s: float) -> CameraRun:
    run = CameraRun(camera)
    try:
        run.footage = open_footage(source_files(camera), job.stall_s, camera.frame_rate, camera.file_starts)
    except ReidError as error:
        run.problems.append(str(error))
        return run
    run.problems += run.footage.missing
    run.notes += run.footage.notes
    period_s = camera.step / run.footage.fps
    if period_s > SPARSE_S:
        how = (
            "followed by appearance more than by place"
            if job.link.enabled
            else "hardly followed, for link.enabled is false"
        )
        run.notes.append(f"frames are {period_s:.2g} s apart: people are {how}")
    if camera.start_time is None and run.footage.start is not None:
        run.camera = camera.model_copy(update={"start_time": run.footage.start})
    if run.footage.live:
        return run  # its segments come with the time
    run.segments = plan_segments(camera, run.footage, segment_s)
    if not run.segments and camera.frames is not None:
        run.problems.append(
            f"frames {list(camera.frames)} are not in video {redacted(camera.source)}, which has "
            f"{run.footage.frames}"
        )
    return run


def _run_segments(
    runs: Sequence[CameraRun],
    job: Job,
    embedder: Embedder,
    work: WorkFolder,
    progress: Progress,
    execution: Execution,
) -> bool:
    """Whether there was anything to look at."""
    by_camera = {run.camera.id: run for run in runs}
    threads = job.threads
    if threads is None and execution.workers > 1:
        threads = max(1, processors() // execution.workers)
    tasks: list[SegmentTask] = []
    left: Counter[str] = Counter()
    for run in runs:
        if run.footage is None:
            progress.done(run.camera.id, run.problems[0])
            continue
        progress.start(run.camera.id, run.total)
        for segment in run.segments:
            if not work.segment(segment.name).path.is_dir():
                tasks.append(
                    SegmentTask(
                        job,
                        run.camera,
                        needed(segment, run.camera, run.footage, run.warm_up),
                        segment,
                        threads,
                    )
                )
                left[run.camera.id] += 1
                continue
            _advance(progress, run.camera.id, frames_of(segment, run.camera, run.footage))
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
    for run in runs:
        run.segments = [segment for segment in run.segments if work.segment(segment.name).path.is_dir()]
        run.counts = {
            segment.name: read_json(work.segment(segment.name).counts, "segment record")
            for segment in run.segments
        }
        run.problems += _undecoded(run)
    _tell_other_classes(runs, job.detector)
    return bool(tasks or live)


def _settled(job: Job, embedder: Embedder, detectors: Sequence[Detector]) -> Job:
    """The job with the runtimes of this process: others do not choose again, for what they find is matched
    with each other.
    """
    detector = job.detector
    if isinstance(detectors[0], NetworkDetector):
        detector = detector.model_copy(update={"backend": detectors[0].model.backend})
    return job.model_copy(update={"backend": embedder.backend, "detector": detector})


def _tell_other_classes(runs: Sequence[CameraRun], detector: DetectorSpec) -> None:
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
                "say so by detector.person_class"
            )


def _undecoded(run: CameraRun) -> list[str]:
    """What the index promised and reading did not give."""
    ends = [number for counts in run.counts.values() for number in counts.get("missing", [])]
    lost = sum(
        (last - first) // run.camera.step + 1 for first, last in zip(ends[::2], ends[1::2], strict=True)
    )
    if not lost:
        return []
    return [unseen(lost, run.total, ends[0], ends[1])]


def _stored(
    outcome: Outcome, run: CameraRun, work: WorkFolder, progress: Progress, execution: Execution
) -> None:
    if outcome.result is not None:
        outcome.result.store(work.segment(outcome.task.segment.name).path)
        if execution.ray is not None:  # workers of a cluster tell nothing on the way
            _advance(progress, run.camera.id, outcome.result.counts["frames"])
    elif outcome.problem is not None and outcome.problem not in run.problems:
        run.problems.append(outcome.problem)


def _done(run: CameraRun, progress: Progress) -> None:
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
