"""A block for each person: pictures, where and when, and how to give an unknown one a name."""

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from reid.data.catalog import readable
from serving.job.layout import JobFolder
from serving.job.record import ShownRecord
from serving.job.report.axis import Axis, Row, anchor, kind, people, person, times
from serving.job.report.pictures import SMALL, picture

__all__ = ["blocks"]

_PICTURES = 8  # in a person's block; all are among the sightings


def blocks(rows: Sequence[Row], axis: Axis, record: ShownRecord, folder: JobFolder, final: Path) -> str:
    """All blocks, named people first; ``final`` is where the folder will lie."""
    of: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: axis.at(row, "start")):
        of.setdefault(person(row), []).append(row)
    return "".join(_block(name, of[name], axis, record, folder, final) for name in people(rows))


def _block(
    name: str, rows: Sequence[Row], axis: Axis, record: ShownRecord, folder: JobFolder, final: Path
) -> str:
    tiles = "".join(_tile(row, axis, folder) for row in rows[:_PICTURES])
    more = f'<p class="soft">and {len(rows) - _PICTURES} more below</p>' if len(rows) > _PICTURES else ""
    cameras = ", ".join(sorted({row["camera"] for row in rows}))
    seen = f"{len(rows)} sighting{'s' * (len(rows) > 1)}, {axis.text(axis.at(rows[0], 'start'))} to "
    seen += f"{axis.text(max(axis.at(row, 'end') for row in rows))}, in {cameras}"
    return (
        f'<section class="person {kind(rows[0])}" data-person="{escape(name)}">'
        f'<h3>{escape(name)}</h3><button type="button" class="correct">Correct</button>'
        f'<p class="soft">{escape(seen)}</p>'
        f'<div class="strip">{tiles}</div>{more}{_promotion(name, rows[0], record, final)}</section>'
    )


def _tile(row: Row, axis: Axis, folder: JobFolder) -> str:
    facts = f"<b>{escape(row['camera'])}</b> {times(row, axis)}"
    return (
        f'<a href="#{anchor(row)}">{picture(row, folder.path, SMALL)}<span class="where">{facts}</span></a>'
    )


def _promotion(name: str, row: Row, record: ShownRecord, final: Path) -> str:
    if row["provisional"] is None:
        return ""
    # a job file may say ../people.db
    gallery = str(Path(record.job.gallery).resolve()) if record.job.gallery else "GALLERY"
    line = f"{shlex.join(['reid', 'gallery', 'promote', gallery, readable(final), name])} NAME"
    return (
        '<p class="soft">to give a name, with the person\'s for NAME:</p>'
        f'<code class="copy">{escape(line)}</code>'
    )
