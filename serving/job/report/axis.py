"""The time axis of a report, and what a row of the sightings is called in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from serving.gallery import UNKNOWN

__all__ = ["Axis", "Row", "anchor", "axis_of", "data", "kind", "people", "person", "times"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """The time axis: seconds since ``origin`` where every camera has a clock, else seconds of footage."""

    origin: datetime | None
    first: float
    last: float

    def at(self, row: Row, which: str) -> float:
        """The ``start`` or ``end`` of a sighting on the axis."""
        if self.origin is None:
            return float(row[f"{which}_s"])
        return float((row[f"{which}_time"] - self.origin).total_seconds())

    def text(self, seconds: float) -> str:
        """A moment in words."""
        if self.origin is None:
            return _duration(seconds)
        return datetime.fromtimestamp(self.origin.timestamp() + seconds, UTC).strftime("%H:%M:%S")

    @property
    def day_start(self) -> float | None:
        """Seconds from midnight UTC to where the axis begins; None where it has no clock."""
        if self.origin is None:
            return None
        there = self.origin.astimezone(UTC)
        return there.hour * 3600 + there.minute * 60 + there.second + there.microsecond / 1e6


def axis_of(rows: Sequence[Row]) -> Axis:
    """The axis on which all sightings lie."""
    if rows and all(row["start_time"] is not None for row in rows):
        origin = min(row["start_time"] for row in rows)
        return Axis(origin, 0.0, max((row["end_time"] - origin).total_seconds() for row in rows))
    return Axis(None, 0.0, max((row["end_s"] for row in rows), default=0.0))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def person(row: Row) -> str:
    """What a sighting's person is called: the name, or the provisional one."""
    return str(row["provisional"] or row["identity"])


def people(rows: Sequence[Row]) -> list[str]:
    """Everybody, named people first, strangers by their number."""
    named = {person(row) for row in rows if row["provisional"] is None}
    strangers = {person(row) for row in rows} - named
    return sorted(named) + sorted(strangers, key=lambda name: (len(name), name))


def kind(row: Row) -> str:
    """The class of its elements."""
    return "unknown" if row["identity"] == UNKNOWN else "named"


def anchor(row: Row) -> str:
    """The id of a sighting's card."""
    return escape(f"s-{row['camera']}-{row['tracklet']}")


def times(row: Row, axis: Axis) -> str:
    """From when to when, as HTML: a line breaks between the two alone."""
    start, end = (axis.text(axis.at(row, which)) for which in ("start", "end"))
    return f'<span class="time">{escape(start)}</span> <span class="time">to {escape(end)}</span>'


def data(row: Row, axis: Axis) -> str:
    """The attributes by which the page's script filters."""
    start, end = axis.at(row, "start"), axis.at(row, "end")
    who, seen = (
        escape(person(row)),
        f'data-camera="{escape(row["camera"])}" data-tracklet="{row["tracklet"]}"',
    )
    return f'data-person="{who}" {seen} data-start="{start:.2f}" data-end="{end:.2f}"'
