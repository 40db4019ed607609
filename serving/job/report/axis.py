"""The time axis of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["Axis", "Row", "axis_of"]

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
        moment = datetime.fromtimestamp(self.origin.timestamp() + seconds, UTC)
        return moment.time().isoformat("seconds")

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
