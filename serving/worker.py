"""The camera worker: a job in, an output folder out.

Footage is cut into segments that are stored one by one in a hidden folder beside the output; a job that was stopped goes on with
the segments that are missing. The output folder itself appears whole when everything is done.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.errors import ReidError, UsageError
from reid.files import read_json, write_json
from serving.detection import build_detector
from serving.gallery import Gallery
from serving.job import Camera, Job, is_url, redacted, source_files
from serving.outputs import JOB_NAME, write_outputs
from serving.runs import CameraRun
from serving.runtime import Embedder, load
from serving.segments import Segment, frames_of, plan_segments, process_segment
from serving.tracking import TrackletBuilder
from serving.video import Footage, open_footage

__all__ = ["JobResult", "Progress", "run_job"]

_LEDGER = "ledger.json"


@dataclass(frozen=True)
class JobResult:
    """What a job came to. ``problems`` has one line for each camera that is missing or incomplete."""

    out: Path
    summary: dict[str, Any]
    problems: tuple[str, ...]


class Progress:
    """What a job reports while it works; this one says nothing."""

    def start(self, camera: str, total: int) -> None:
        """A camera begins; ``total`` frames, 0 when unknown."""

    def advance(self, camera: str) -> None:
        """One frame is done."""

    def done(self, camera: str, problem: str | None) -> None:
        """A camera is finished, or has failed with ``problem``."""


def run_job(job: Job, out: Path | str, progress: Progress | None = None, segment_s: float = 60.0) -> JobResult:
    """Work through a job and write its output folder.

    Raises:
        UsageError: the output folder belongs to something else, or the model has no threshold for the policy.
        ReidError: model, gallery or detector cannot be used, or no camera of the job could be read at all.
    """
    out, progress = Path(out), progress or Progress()
    began = time.perf_counter()
    check_output(job, out)
    embedder = load(job.model, job.backend, job.threads)
    threshold, threshold_from = decision_threshold(job, embedder)
    gallery = Gallery.open(job.gallery, embedder.fingerprint)
    for camera in job.cameras:
        build_detector(job.detector, camera, job.threads)
    runs = [_prepare(camera, segment_s) for camera in job.cameras]
    problems = tuple(f"camera {run.camera.id}: {problem}" for run in runs for problem in run.problems)
    if all(run.footage is None for run in runs):
        raise ReidError(problems[0] if len(problems) == 1 else f"no camera of the job can be read; the first: {problems[0]}")
    work = _work_folder(job, out, embedder, segment_s)
    for run in runs:
        _run_camera(run, job, embedder, work, progress)
    facts: dict[str, Any] = {
        "job": job.public(),
        "job_key": job.key(),
        "model": {"name": embedder.card.name, "fingerprint": embedder.fingerprint, "backend": embedder.backend},
        "gallery": {"version": gallery.version, "identities": sorted(person.identity for person in gallery.people())},
        "decision": {"policy": job.policy, "top_k": job.top_k, "threshold": threshold, "from": threshold_from},
        "problems": list(problems),
    }
    summary = write_outputs(job, runs, gallery, threshold, work, out, facts, began)
    shutil.rmtree(work)
    return JobResult(out, summary, problems)


def check_output(job: Job, out: Path) -> None:
    """Refuse an output folder that holds something else than this job's earlier output.

    Raises:
        UsageError: it does.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise UsageError(f"output {out} is a file: name a folder")
    if not (out / JOB_NAME).is_file():
        raise UsageError(f"output folder {out} holds something else than a job's output: name an empty or new folder")
    if read_json(out / JOB_NAME, "job record").get("job_key") != job.key():
        raise UsageError(f"output folder {out} is that of another job: name a new folder or remove it")


def decision_threshold(job: Job, embedder: Embedder) -> tuple[float, str]:
    """The distance up to which a name is given, and where it is from: the job, or the model card.

    Raises:
        UsageError: neither says.
    """
    if job.threshold is not None:
        return job.threshold, "job"
    for unit in ("tracklet", "image"):
        calibrated = embedder.card.threshold(job.policy, unit)
        if calibrated is not None:
            return calibrated.distance, f"model card, calibrated for one {unit}"
    raise UsageError(
        f"model {job.model} has no calibrated threshold for the policy {job.policy!r}: calibrate it or set threshold in the job"
    )


def _work_folder(job: Job, out: Path, embedder: Embedder, segment_s: float) -> Path:
    work = out.parent / f".{out.name}.work"
    files = [_version(camera) for camera in job.cameras]
    ledger = {"job_key": job.key(), "fingerprint": embedder.fingerprint, "segment_s": segment_s, "files": files}
    if work.exists() and (not (work / _LEDGER).is_file() or read_json(work / _LEDGER, "ledger") != ledger):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / _LEDGER, ledger)
    return work


def _version(camera: Camera) -> list[list[Any]]:
    """What tells whether a camera's files are still those that stored segments were made from."""
    try:
        sources = source_files(camera)
    except ReidError:
        return []
    return [[redacted(name), *_size_and_time(name)] for name in sources]


def _size_and_time(source: str) -> list[int]:
    if is_url(source):
        return []
    facts = Path(source).stat()
    return [facts.st_size, facts.st_mtime_ns]


def _prepare(camera: Camera, segment_s: float) -> CameraRun:
    run = CameraRun(camera)
    try:
        run.footage = open_footage(source_files(camera))
    except ReidError as error:
        run.problems.append(str(error))
        return run
    run.problems += run.footage.missing
    run.segments = plan_segments(camera, run.footage, segment_s)
    if not run.segments and camera.frames is not None:
        run.problems.append(f"frames {list(camera.frames)} are not in video {redacted(camera.source)}, which has {run.footage.frames}")
    return run


def _run_camera(run: CameraRun, job: Job, embedder: Embedder, work: Path, progress: Progress) -> None:
    if run.footage is not None:
        progress.start(run.camera.id, run.total)
        advance: Callable[[], None] = lambda: progress.advance(run.camera.id)  # noqa: E731
        for segment in run.segments:
            _run_segment(run, run.footage, segment, job, embedder, work, advance)
    progress.done(run.camera.id, run.problems[0] if run.problems else None)


def _run_segment(
    run: CameraRun, footage: Footage, segment: Segment, job: Job, embedder: Embedder, work: Path, advance: Callable[[], None]
) -> None:
    folder = work / segment.name
    if not folder.is_dir():
        detector = build_detector(job.detector, run.camera, job.threads)
        builder = TrackletBuilder(job.tracker, job.crops, footage.fps / run.camera.step)
        process_segment(segment, run.camera, footage, detector, builder, embedder, advance).store(folder)
    else:
        for _ in range(frames_of(segment, run.camera, footage)):
            advance()
    run.counts[segment.name] = read_json(folder / "counts.json", "segment record")
