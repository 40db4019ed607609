"""A block for each person: pictures, where and when, and how to give an unknown one a name."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.data.catalog import readable
from serving.job.record import ShownRecord
from serving.job.report.pictures import SMALL, Picture, picture
from serving.job.report.sighting import Sighting, people

__all__ = ["Block", "blocks"]

_PICTURES = 8  # in a person's block; all are among the sightings


@dataclass(frozen=True, slots=True)
class Block:
    """What the page says of a person."""

    person: str
    kind: str
    seen: str
    tiles: Sequence[tuple[Sighting, Picture | None]]
    left_out: int  # sightings without a tile
    promotion: str | None  # the command that gives an unknown person a name


def blocks(sightings: Sequence[Sighting], record: ShownRecord, root: Path, final: Path) -> Iterator[Block]:
    """All blocks, named people first; the job's folder is ``root`` and will lie at ``final``."""
    of: dict[str, list[Sighting]] = {}
    for one in sorted(sightings, key=lambda one: one.start):
        of.setdefault(one.person, []).append(one)
    return (_block(name, of[name], record, root, final) for name in people(sightings))


def _block(name: str, sightings: Sequence[Sighting], record: ShownRecord, root: Path, final: Path) -> Block:
    cameras = ", ".join(sorted({one.row["camera"] for one in sightings}))
    last = max(sightings, key=lambda one: one.end)
    return Block(
        name,
        sightings[0].kind,
        f"{len(sightings)} sighting{'s' * (len(sightings) > 1)}, {sightings[0].start_text} to "
        f"{last.end_text}, in {cameras}",
        [(one, picture(one, root, SMALL)) for one in sightings[:_PICTURES]],
        max(len(sightings) - _PICTURES, 0),
        _promotion(sightings[0], record, final),
    )


def _promotion(sighting: Sighting, record: ShownRecord, final: Path) -> str | None:
    if sighting.row["provisional"] is None:
        return None
    # a job file may say ../people.db
    gallery = str(Path(record.job.gallery).resolve()) if record.job.gallery else "GALLERY"
    words = ["reid", "gallery", "promote", gallery, readable(final), sighting.person]
    return f"{shlex.join(words)} NAME"
