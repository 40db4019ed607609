"""From an unknown person of a finished job to a named one in the gallery."""

from dataclasses import dataclass

import numpy as np

from reid.errors import ReidError
from serving.gallery import UNKNOWN, Gallery, check_name, describe
from serving.job.layout import key_of, open_job, sighting_name, stranger_name
from serving.job.record import DecidedRecord
from serving.job.stranger_file import StrangerFile

__all__ = ["Promotion", "promote"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """What became of a stranger."""

    identity: str
    sightings: tuple[str, ...]  # camera:tracklet, each now a reference
    warnings: tuple[str, ...]  # whom the person looks like
    version: int


def promote(gallery: Gallery, strangers: StrangerFile, who: str, identity: str) -> Promotion:
    """Enroll the sightings of a stranger under a name.

    Args:
        gallery: opened with the fingerprint of ``strangers``.
        strangers: of the job.
        who: ``unknown-3``, all sightings that have this provisional name, or ``camera:tracklet``, one of
            them.
        identity: a new name, or that of somebody enrolled.

    Raises:
        ReidError: the job saw nobody of that name, or all those sightings are enrolled under this name
            already.
    """
    identity = check_name(identity)
    rows = [
        index
        for index, row in enumerate(strangers.rows)
        if who in (stranger_name(row["number"]), sighting_name(*key_of(row)))
    ]
    if not rows:
        raise ReidError(
            f"job {strangers.folder} saw no unknown person {who!r}: want {UNKNOWN}-NUMBER or "
            "CAMERA:TRACKLET, see its report"
        )
    job = open_job(strangers.folder, DecidedRecord)
    near = job.record.decision.threshold
    sources = [str(strangers.folder / strangers.rows[row]["crop"]) for row in rows]
    conflicts = gallery.find_conflicts([identity] * len(rows), strangers.embeddings[rows], sources, near)
    there = {one.source for one in conflicts if one.kind == "duplicate"}
    chosen = [row for row, source in zip(rows, sources, strict=True) if source not in there]
    if not chosen:
        raise ReidError(
            f"{who} of job {strangers.folder} is enrolled as {identity!r} already: there is nothing to add"
        )
    known = frozenset(person.identity for person in gallery.people())
    facts = [strangers.rows[row] for row in chosen]
    finished = job.files.record.stat().st_mtime
    version = gallery.enroll(
        identity,
        strangers.embeddings[chosen],
        source=[str(strangers.folder / row["crop"]) for row in facts],
        camera=[row["camera"] for row in facts],
        time=[finished if row["start"] is None else row["start"] for row in facts],
        quality=np.clip([row["quality"] for row in facts], 0, 1),
    )
    warnings = describe(
        [one for one in conflicts if one.kind == "contradiction"], [identity] * len(rows), known
    )
    return Promotion(identity, tuple(sighting_name(*key_of(row)) for row in facts), tuple(warnings), version)
