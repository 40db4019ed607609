"""Finished jobs named anew from what they have kept, without touching the footage.

People promoted, renamed or merged in the gallery since are so in the tables, the report and the record, as
another ``reid match`` would write them.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reid.card import ModelCard, load_card
from reid.errors import ReidError
from reid.system_errors import shown
from serving.gallery import Gallery
from serving.job.corrections.plan import names_of
from serving.job.kept import finished_with, inputs_of, stored_runs
from serving.job.layout import NAMED, JobFolder, Key, WorkFolder, open_job
from serving.job.outputs import write_outputs
from serving.job.people import Identification
from serving.job.preparation import (
    check_output,
    decision_of,
    decision_threshold,
    facts_of,
    open_gallery,
    search_index,
)
from serving.job.record import JobFacts, SeenRecord
from serving.job.report.folders import distinct
from serving.job.segments.camera import CameraState
from serving.job.stranger_file import read_earlier
from serving.matching import open_pair_scorer
from serving.spec import Job

__all__ = ["Rematched", "rematch"]


@dataclass(frozen=True)
class Rematched:
    """What naming a job anew came to. ``changed``: sightings with another name, known or provisional."""

    folder: Path
    sightings: int
    changed: int
    by_hand: int = 0  # sightings whose corrections in the tables alone are lost
    videos: tuple[str, ...] = ()  # annotated with other names, and therefore taken out
    unchanged: bool = False  # nothing was left to do


@dataclass(frozen=True)
class _Prepared:
    folder: JobFolder
    job: Job
    runs: list[CameraState]
    facts: JobFacts
    by: Identification
    names: dict[Key, str]
    by_hand: int


def rematch(folders: Sequence[Path], gallery: Path | None = None) -> list[Rematched]:
    """Name the people of finished jobs anew. All jobs are checked before the first is written; each is
    written whole or not at all.

    Args:
        folders: outputs of jobs, with what they have kept.
        gallery: in place of the one that the jobs name, as of a job that had none.

    Raises:
        UsageError: a folder is no job's output, keeps nothing, or its gallery is not there.
        ReidError: what is kept is damaged, or the gallery is of another model.
    """
    galleries: dict[tuple[str | None, str], Gallery] = {}
    with ExitStack() as opened:
        prepared = [_prepared(folder, gallery, galleries, opened) for folder in distinct(folders)]
        return [_named_anew(one) if isinstance(one, _Prepared) else one for one in prepared]


def _prepared(
    folder: Path,
    gallery: Path | None,
    galleries: dict[tuple[str | None, str], Gallery],
    opened: ExitStack,
) -> _Prepared | Rematched:
    """A job ready to be written, or what came of one that is so already."""
    files = JobFolder(folder)
    record = open_job(folder, SeenRecord).record
    job = _job_of(record, files)
    if gallery is not None:
        job = job.model_copy(update={"gallery": str(gallery.absolute())})
    check_output(job, folder)
    rows = files.read_sightings().to_pylist()
    fingerprint = record.model.fingerprint
    if (job.gallery, fingerprint) not in galleries:
        try:
            galleries[job.gallery, fingerprint] = open_gallery(job, fingerprint, opened)
        except ReidError as error:  # which of the jobs it is that does not go with it
            raise type(error)(f"{folder}: {error}") from error
    known = galleries[job.gallery, fingerprint]
    index, notes = search_index(job, known)  # what is wrong in it is said before the work
    decision = decision_of(job, *_threshold(job, record))
    inputs = inputs_of(job, files.kept.read_ledger(), decision, known)
    if finished_with(folder, inputs) is not None:
        return Rematched(folder, len(rows), 0, unchanged=True)
    runs = stored_runs(job, record, files, _clocks(job, rows))
    scorer = open_pair_scorer(job.model) if job.rescore else None
    card = _card_of(job, record)
    earlier = read_earlier(job.earlier, fingerprint)
    by = Identification(
        known,
        decision["threshold"],
        scorer,
        *earlier,
        None if card is None else card.certainty,
        index,
        notes,
    )
    facts = facts_of(job, record.model.as_dict(), known, decision, inputs, index)
    return _Prepared(files, job, runs, facts, by, names_of(rows), len(record.corrections.sightings))


def _named_anew(one: _Prepared) -> Rematched:
    had = [path for run in one.runs if (path := one.folder.video(run.camera.id)).is_file()]
    work = WorkFolder(one.folder.kept.path.absolute())
    write_outputs(one.job, one.runs, work, one.folder.path, one.facts, one.by, time.perf_counter())
    names = names_of(one.folder.read_sightings(NAMED).to_pylist())
    changed = sum(one.names.get(key) != name for key, name in names.items())
    gone = tuple(path.name for path in had if not path.is_file())
    return Rematched(one.folder.path, len(names), changed, one.by_hand, gone)


def _job_of(record: SeenRecord, files: JobFolder) -> Job:
    try:
        return Job.model_validate(record.job.as_dict())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ReidError(
            f"job record {files.record} says a job that is none ({shown(key)}: {first['msg']}): run reid "
            "match again"
        ) from error


def _threshold(job: Job, record: SeenRecord) -> tuple[float, str]:
    """As :func:`decision_threshold`; the one that the job had where its model is no longer there."""
    card = _card_of(job, record)
    if card is None:
        return record.decision.threshold, record.decision.origin
    return decision_threshold(job, card)


def _card_of(job: Job, record: SeenRecord) -> ModelCard | None:
    """The card of the model that embedded; None where it is no longer there."""
    try:
        card = load_card(job.model)
    except ReidError:
        return None
    return card if card.fingerprint == record.model.fingerprint else None


def _clocks(job: Job, rows: Sequence[dict[str, Any]]) -> dict[str, datetime]:
    """The clock time of each camera's first frame: the job's, or what the files said when they were read."""
    clocks = {
        row["camera"]: row["start_time"] - timedelta(seconds=row["start_s"])
        for row in rows
        if row["start_time"] is not None
    }
    return clocks | {one.id: one.start_time for one in job.cameras if one.start_time is not None}
