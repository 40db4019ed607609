"""The answer of ``reid find`` as a page: the way over the cameras in order of time, and all sightings, the
nearest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reid.data.catalog import readable
from reid.images import Image
from reid.pages import write_html
from serving.job.afterwards.search import Found, Seen
from serving.job.report.pictures import LARGE, SMALL, crop_url, picture_url

__all__ = ["Stop", "route_of", "write_route"]

_MARKS = 4


@dataclass(frozen=True)
class Stop:
    """A sighting on the way. ``at``: seconds since the way began; None where its camera has no clock."""

    found: Found
    at: tuple[float, float] | None
    after: str  # how long after the stop before, in words; empty at the beginning
    overlaps: bool  # it was begun in another camera before the stop before had ended


def route_of(found: Sequence[Found]) -> list[Stop]:
    """The sightings within the threshold in order of time; those of cameras without a clock come last, by
    job.
    """
    own = [one for one in found if one.within]
    timed = sorted((one for one in own if one.row["start_time"] is not None), key=lambda one: _start(one.row))
    others = [one for one in own if one.row["start_time"] is None]
    others.sort(key=lambda one: (str(one.folder), one.row["camera"], one.row["start_s"]))
    stops: list[Stop] = []
    ended: tuple[datetime, str] | None = None
    for one in timed:
        start, end = one.row["start_time"], one.row["end_time"]
        began = timed[0].row["start_time"]
        gap_s = None if ended is None else (start - ended[0]).total_seconds()
        overlaps = gap_s is not None and gap_s < 0 and ended is not None and ended[1] != one.row["camera"]
        words = "" if gap_s is None else _gap(gap_s)
        at = (start - began).total_seconds(), (end - began).total_seconds()
        stops.append(Stop(one, at, words, overlaps))
        if ended is None or end > ended[0]:
            ended = end, one.row["camera"]
    return stops + [Stop(one, None, "", False) for one in others]


def _start(row: dict[str, Any]) -> tuple[datetime, str]:
    return row["start_time"], row["camera"]


def _gap(seconds: float) -> str:
    if seconds < 0:
        return "at the same time"
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} later"
    return f"{seconds:.0f} s later"


def write_route(
    path: Path, title: str, found: Sequence[Found], jobs: Sequence[Seen], pictures: Sequence[Image] = ()
) -> None:
    """Write the page, private: it has pictures of people inside.

    Args:
        path: of the page.
        title: of it.
        found: nearest first.
        jobs: that were looked into.
        pictures: that were asked with, (h, w, 3) uint8 RGB.
    """
    stops = route_of(found)
    rank = {id(one): number for number, one in enumerate(found, 1)}
    length = max((stop.at[1] for stop in stops if stop.at), default=0.0)
    write_html(
        path,
        "serving.job",
        "route.html",
        title=title,
        jobs=[readable(job.folder) for job in jobs],
        looked=sum(len(job.rows) for job in jobs),
        within=len(stops),
        asked=[picture_url(image[:, :, ::-1], LARGE) for image in pictures[:8]],
        stops=[_stop(number, stop, rank[id(stop.found)]) for number, stop in enumerate(stops, 1)],
        lanes=_lanes(stops, length, rank),
        marks=_axis(stops, length),
        cards=[_card(number, one, len(jobs) > 1) for number, one in enumerate(found, 1)],
        calibrated=any(one.certainty is not None for one in found),
    )


def _stop(number: int, stop: Stop, rank: int) -> dict[str, Any]:
    row = stop.found.row
    return {
        "number": number,
        "camera": row["camera"],
        "when": _when(row),
        "after": stop.after,
        "overlaps": stop.overlaps,
        "picture": _crop(stop.found, SMALL),
        "rank": rank,
    }


def _lanes(stops: Sequence[Stop], length: float, rank: dict[int, int]) -> list[dict[str, Any]]:
    """A lane for each camera in order of the first visit; bars in percent of the whole time."""
    lanes: dict[str, list[dict[str, Any]]] = {}
    for number, stop in enumerate(stops, 1):
        if stop.at is None:
            continue
        start, end = (100 * at / length if length else 0.0 for at in stop.at)
        bar = {"number": number, "left": f"{start:.3f}", "width": f"{max(end - start, 0):.3f}"}
        lanes.setdefault(stop.found.row["camera"], []).append(bar | {"rank": rank[id(stop.found)]})
    return [{"camera": camera, "bars": bars} for camera, bars in lanes.items()]


def _axis(stops: Sequence[Stop], length: float) -> list[str]:
    timed = [stop.found.row["start_time"] for stop in stops if stop.at is not None]
    if not timed or not length:
        return []
    form = "%m-%d %H:%M" if length > 86_400 else "%H:%M:%S"
    moments = [timed[0].timestamp() + length * step / (_MARKS - 1) for step in range(_MARKS)]
    return [f"{datetime.fromtimestamp(moment, UTC):{form}}" for moment in moments]


def _card(number: int, one: Found, several: bool) -> dict[str, Any]:
    return {
        "number": number,
        "camera": one.row["camera"],
        "tracklet": one.row["tracklet"],
        "when": _when(one.row),
        "named": one.name,
        "job": readable(one.folder) if several else "",
        "distance": f"{one.distance:.3f}",
        "within": one.within,
        "certainty": None if one.certainty is None else f"{one.certainty:.2f}",
        "picture": _crop(one, LARGE),
    }


def _when(row: dict[str, Any]) -> tuple[str, str]:
    if row["start_time"] is None:
        return f"{row['start_s']:.1f} s", f"{row['end_s']:.1f} s of footage"
    start, end = (row[f"{which}_time"].astimezone(UTC) for which in ("start", "end"))
    form = "%H:%M:%S" if start.date() == end.date() else "%Y-%m-%d %H:%M:%S"
    return f"{start:%Y-%m-%d %H:%M:%S}", f"{end:{form}}"


def _crop(one: Found, most: tuple[int, int]) -> str | None:
    return crop_url(one.folder.resolve(), one.row["crop"], most)
