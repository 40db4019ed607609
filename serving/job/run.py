"""The camera worker: a job in, an output folder out.

Footage is cut into segments that are stored one by one in a hidden folder beside the output; a job that was
stopped goes on with the segments that are missing. The output folder itself appears whole when everything is
done.
"""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.errors import ReidError
from reid.files import make_parents, remove_empty
from serving.detection import Detector, NetworkDetector, build_detector
from serving.job.corrections.undone import made_by_hand, undone
from serving.job.kept import finished_with, inputs_of, ledger_of
from serving.job.layout import WorkFolder
from serving.job.outputs import write_outputs
from serving.job.people import Identification
from serving.job.preparation import (
    check_output,
    decision_of,
    decision_threshold,
    facts_of,
    open_gallery,
    prepare_camera,
    remove_if_empty,
    search_index,
    stored_backend,
    work_folder,
)
from serving.job.progress import Progress
from serving.job.segments.camera import problem_lines
from serving.job.segments.live import StopRequested
from serving.job.segments.run import Execution, run_segments
from serving.job.stranger_file import read_earlier
from serving.matching import open_pair_scorer
from serving.runtime import Embedder, load
from serving.spec import Job

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
    embedder = load(job.model, stored_backend(job, out), job.threads, precision=job.precision)
    threshold, origin = decision_threshold(job, embedder.card)
    gallery = open_gallery(job, embedder.fingerprint, opened)
    index, notes = search_index(job, gallery)
    scorer = open_pair_scorer(job.model) if job.rescore else None
    earlier = read_earlier(job.earlier, embedder.fingerprint)
    decision = decision_of(job, threshold, origin)
    ledger = ledger_of(job, embedder, execution.segment_s)
    inputs = inputs_of(job, ledger, decision, gallery)
    if (record := finished_with(out, inputs)) is not None:
        return JobResult(out, record.as_dict(), (), embedder.chosen, tuple(record.notes), unchanged=True)
    detectors = [build_detector(job.detector, camera, job.threads) for camera in job.cameras]
    runs = [prepare_camera(camera, job, execution.segment_s) for camera in job.cameras]
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
    work = work_folder(out, ledger, embedder.dim)
    opened.callback(remove_if_empty, work)
    settled = _settled(job, embedder, detectors)
    seen_before = not run_segments(runs, settled, embedder, work, progress, execution)
    facts = facts_of(job, _model(embedder), gallery, decision, inputs, index)
    by = Identification(gallery, threshold, scorer, *earlier, embedder.card.certainty, index, notes)
    corrected = made_by_hand(out)
    summary = write_outputs(job, runs, work, out, facts, by, began)
    work.path.rename(finished)  # at one stroke: what is left of it is of a job that is done
    shutil.rmtree(finished)
    return JobResult(
        out,
        summary,
        tuple(summary["problems"]),
        embedder.chosen,
        (*summary["notes"], *undone(corrected, out)),
        seen_before=seen_before,
        detector=_line_of(detectors[0]),
    )


def _settled(job: Job, embedder: Embedder, detectors: Sequence[Detector]) -> Job:
    """The job with the runtimes of this process: others do not choose again, for what they find is matched
    with each other.
    """
    detector = job.detector
    if isinstance(detectors[0], NetworkDetector):
        detector = detector.model_copy(update={"backend": detectors[0].model.backend})
    return job.model_copy(update={"backend": embedder.backend, "detector": detector})


def _line_of(detector: Detector) -> str:
    """What a detector's file was recognised as, and how ``auto`` came to its runtime."""
    if not isinstance(detector, NetworkDetector):
        return ""
    chosen = f"; {detector.model.chosen}" if detector.model.chosen else ""
    return f"{detector}{chosen}"


def _model(embedder: Embedder) -> dict[str, Any]:
    return {
        "name": embedder.card.name,
        "fingerprint": embedder.fingerprint,
        "backend": embedder.backend,
        "precision": embedder.precision,
    }
