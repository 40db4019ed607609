"""What all parts of a report say of a sighting: of whom, by which camera, from when to when."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.gallery import UNKNOWN
from serving.job.layout import name_of
from serving.job.report.axis import Axis, Row

__all__ = ["Sighting", "describe", "people"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A sighting in the words of the page; nothing is escaped yet."""

    row: Row
    person: str  # the name, or the provisional one
    kind: str  # class of its elements
    start: float  # on the axis, in seconds
    end: float
    start_text: str
    end_text: str
    start_css: str  # as the page's numbers are written
    end_css: str
    key: str  # the id of its card, after ``s-``


def describe(row: Row, axis: Axis) -> Sighting:
    """A row of the sightings as the page shows it."""
    start, end = axis.at(row, "start"), axis.at(row, "end")
    return Sighting(
        row,
        name_of(row),
        "unknown" if row["identity"] == UNKNOWN else "named",
        start,
        end,
        axis.text(start),
        axis.text(end),
        f"{start:.2f}",
        f"{end:.2f}",
        f"{row['camera']}-{row['tracklet']}",
    )


def people(sightings: Sequence[Sighting]) -> list[str]:
    """Everybody, named people first, strangers by their number."""
    named = {one.person for one in sightings if one.row["provisional"] is None}
    strangers = {one.person for one in sightings} - named
    return sorted(named) + sorted(strangers, key=lambda name: (len(name), name))
