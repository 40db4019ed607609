"""Corrections applied: the gallery in one change, then the output folder in one stroke.

The new folder is complete before the gallery is touched, and takes the old one's place right after. Who is
killed between the two does the same again: the gallery's audit log tells that its part is done.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from reid.errors import ReidError, UsageError
from reid.files import atomic_directory, write_json
from serving.gallery import Gallery, NewReferences, describe, key_from_environment
from serving.job.corrections.document import Corrections, read, sightings_digest
from serving.job.corrections.plan import Plan, plan_corrections
from serving.job.corrections.tables import (
    correct_rows,
    correct_strangers,
    counts_of,
    sightings_table,
    write_detections,
)
from serving.job.kept import link_rest
from serving.job.layout import (
    JobFolder,
    JobOutput,
    Key,
    crop_name,
    is_stranger,
    key_of,
    open_job,
    sighting_name,
)
from serving.job.record import CorrectedRecord
from serving.job.report import write_report
from serving.job.sightings.embeddings import keep_embeddings
from serving.job.stranger_file import StrangerFile, read_strangers, write_strangers

__all__ = ["Corrected", "correct_job"]


@dataclass(frozen=True)
class Corrected:
    """What corrections came to. ``already``: they had been applied before, and nothing was done."""

    count: int
    already: bool = False
    enrolled: tuple[str, ...] = ()  # people who got references in the gallery
    warnings: tuple[str, ...] = ()


def correct_job(folder: Path, source: Path, gallery: Path | None = None) -> Corrected:
    """Apply a file of corrections to a finished job and to its gallery, whole or not at all.

    Args:
        folder: the job's output.
        source: what the page of its report gave.
        gallery: in place of the one that the job names; it is made where it is not there.

    Raises:
        UsageError: a file is missing, or somebody is named and the job has no gallery.
        ReidError: the file is damaged, of another job, or names somebody who is not there.
    """
    wanted = read(source)
    job = open_job(folder, CorrectedRecord)
    if wanted.digest in job.record.corrections.applied:
        return Corrected(len(wanted.corrections), already=True)
    rows = job.files.read_sightings().to_pylist()
    if wanted.job != sightings_digest(rows):
        raise ReidError(
            f"{source} is of another job than {folder}, or of an earlier report of it: open "
            f"{job.files.report} and correct there"
        )
    plan = plan_corrections(rows, job.record.gallery.identities, wanted.corrections)
    strangers = read_strangers(folder)
    new = _references(plan, strangers)
    with atomic_directory(folder, private=True) as temporary:
        files = JobFolder(temporary)
        _write(job, files, rows, strangers, plan, wanted)
        write_report(temporary, files.report, folder)
        warnings = _tell_gallery(job, gallery, strangers.fingerprint, plan, new, wanted.digest)
    lost = [sighting_name(*key) for key in _without_reference(plan)]
    if lost:
        warnings.append(
            f"{', '.join(lost)}: corrected in the tables alone, the gallery learns nothing from "
            f"sight{'ings' if len(lost) > 1 else 'ing'} that had another name"
        )
    return Corrected(len(wanted.corrections), enrolled=tuple(new), warnings=tuple(warnings))


def _references(plan: Plan, strangers: StrangerFile) -> dict[str, list[int]]:
    """Rows of ``strangers`` by the name that their person got."""
    row_of = {key_of(row): index for index, row in enumerate(strangers.rows)}
    promoted = {name: [row_of[key] for key in keys if key in row_of] for name, keys in plan.promoted.items()}
    return {name: found for name, found in promoted.items() if found}


def _without_reference(plan: Plan) -> list[Key]:
    return sorted(key for key in plan.moved if not is_stranger(plan.was[key]))


def _write(
    job: JobOutput[CorrectedRecord],
    files: JobFolder,
    rows: list[dict[str, Any]],
    strangers: StrangerFile,
    plan: Plan,
    wanted: Corrections,
) -> None:
    """The output folder as it will be, but for the report; what stays as it is, is linked."""
    gone = [crop_name(*key) for key in plan.was.keys() - plan.now.keys()]
    anew = {
        job.files.sightings,
        job.files.detections,
        job.files.strangers,
        job.files.record,
        job.files.report,
    }
    if gone and job.files.embeddings.is_file():
        anew.add(job.files.embeddings)
        keep_embeddings(job.files.embeddings, files.embeddings, plan.now.keys())
    # the score is of the tables as they were
    link_rest(job.files.path, files.path, anew | {job.files.score})
    for name in gone:
        (files.path / name).unlink(missing_ok=True)
    after = correct_rows(rows, plan)
    pq.write_table(sightings_table(after), files.sightings)
    boxes = write_detections(job.files.detections, files.detections, plan)
    left = correct_strangers(strangers.rows, plan)
    write_strangers(files.strangers, left, strangers.fingerprint, strangers.series)
    record = job.record.as_dict()
    before = job.record.corrections
    by_hand = {sighting_name(*key) for key in plan.moved}
    record["counts"] = counts_of(record["counts"], after, boxes)
    record["gallery"]["identities"] = sorted(plan.enrolled | plan.promoted.keys())
    record["corrections"] = {
        "applied": [*before.applied, wanted.digest],
        "sightings": sorted({*before.sightings} | by_hand),
    }
    write_json(files.record, record)


def _tell_gallery(
    job: JobOutput[CorrectedRecord],
    named: Path | None,
    fingerprint: str,
    plan: Plan,
    new: dict[str, list[int]],
    mark: str,
) -> list[str]:
    """Change the gallery; returns whom new references look like."""
    path = named or (Path(job.record.job.gallery) if job.record.job.gallery else None)
    if path is None:
        if plan.steps or new:
            raise UsageError(
                f"job {job.files.path} has no gallery to name people in: name one with --gallery FILE"
            )
        return []
    strangers = read_strangers(job.files.path)
    with Gallery.open(path, fingerprint, create=named is not None, key=key_from_environment()) as gallery:
        known = frozenset(person.identity for person in gallery.people())
        finished = job.files.record.stat().st_mtime
        references: list[NewReferences] = []
        warnings: list[str] = []
        for name, chosen in new.items():
            facts, vectors = [strangers.rows[row] for row in chosen], strangers.embeddings[chosen]
            sources = [str(job.files.path.absolute() / row["crop"]) for row in facts]
            near = job.record.decision.threshold
            conflicts = gallery.find_conflicts([name] * len(facts), vectors, sources, near)
            there = {one.source for one in conflicts if one.kind == "duplicate"}
            kept = [index for index, one in enumerate(sources) if one not in there]
            others = [one for one in conflicts if one.kind == "contradiction"]
            warnings += describe(others, [name] * len(facts), known)
            if kept:
                references.append(
                    NewReferences.checked(
                        name,
                        vectors[kept],
                        None,
                        [sources[index] for index in kept],
                        [facts[index]["camera"] for index in kept],
                        [facts[i]["start"] if facts[i]["start"] is not None else finished for i in kept],
                        np.clip([facts[index]["quality"] for index in kept], 0, 1),
                    )
                )
        gallery.correct(plan.steps, references, mark, f"in the report of {job.files.path.absolute()}")
    return warnings
