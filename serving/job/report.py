"""The report of a job: one HTML file that opens from disk, with its pictures inside and everything from
outside escaped.
"""

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np

from reid.data.catalog import readable
from reid.files import atomic_path
from serving.job.layout import JobFolder, open_job
from serving.job.record import ShownRecord

__all__ = ["render_report", "write_report"]

_THUMBNAIL = (132, 264)  # width, height in pixels: sharp at the size the page shows on a dense screen
_SMALL = (96, 192)  # of the pictures in a person's block
_PICTURES = 8  # in a person's block; all are among the sightings
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 80]


@dataclass(frozen=True)
class _Axis:
    """The time axis: seconds since ``origin`` where every camera has a clock, else seconds of footage."""

    origin: datetime | None
    first: float
    last: float

    def at(self, row: dict[str, Any], which: str) -> float:
        if self.origin is None:
            return float(row[f"{which}_s"])
        return float((row[f"{which}_time"] - self.origin).total_seconds())

    def text(self, seconds: float) -> str:
        if self.origin is None:
            return _duration(seconds)
        return datetime.fromtimestamp(self.origin.timestamp() + seconds, UTC).strftime("%H:%M:%S")

    def percent(self, seconds: float) -> float:
        return 100.0 * (seconds - self.first) / max(self.last - self.first, 1e-9)


def write_report(folder: Path | str, path: Path | str, final: Path | None = None) -> None:
    """Write the report of a job's output folder to ``path``, whole or not at all; ``final`` is where the
    folder will lie, if elsewhere.

    Raises:
        UsageError: the folder is not that of a finished job.
    """
    job = open_job(folder, ShownRecord)
    page = render_report(
        job.record, job.files.read_sightings().to_pylist(), job.files, (final or job.files.path).absolute()
    )
    with atomic_path(path, mode=0o600) as temporary:  # it has pictures of people inside
        temporary.write_text(page, encoding="utf-8")


def render_report(record: ShownRecord, rows: Sequence[dict[str, Any]], folder: JobFolder, final: Path) -> str:
    """The page for a job record and its sightings; crops and videos are looked for in ``folder``, which will
    lie at ``final``.
    """
    rows = sorted(rows, key=lambda row: (row["certainty"], row["camera"], row["tracklet"]))
    axis = _axis(rows)
    template = Template(files("serving.job").joinpath("templates/report.html").read_text(encoding="utf-8"))
    cameras = [camera.id for camera in record.job.cameras]
    return template.substitute(
        title=escape(", ".join(filter(None, [f"Camera report {readable(final.name)}", _date(record, axis)]))),
        subtitle=_subtitle(record, axis),
        blocks=_blocks(rows, axis, record, folder, final) or '<p class="soft">Nobody was seen.</p>',
        facts=_facts(record),
        problems=_problems(record),
        people=_options(_people(rows)),
        cameras=_options(cameras),
        unit="seconds or m:s" if axis.origin is None else "h:m:s UTC",
        first=axis.text(axis.first),
        last=axis.text(axis.last),
        timeline=_timeline(rows, axis),
        cards="".join(_card(row, axis, record, folder) for row in rows),
        footer=_footer(record),
        day_start="null" if axis.origin is None else str(_second_of_day(axis.origin)),
    )


def _axis(rows: Sequence[dict[str, Any]]) -> _Axis:
    if rows and all(row["start_time"] is not None for row in rows):
        origin = min(row["start_time"] for row in rows)
        return _Axis(origin, 0.0, max((row["end_time"] - origin).total_seconds() for row in rows))
    return _Axis(None, 0.0, max((row["end_s"] for row in rows), default=0.0))


def _second_of_day(moment: datetime) -> float:
    there = moment.astimezone(UTC)
    return there.hour * 3600 + there.minute * 60 + there.second + there.microsecond / 1e6


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def _person(row: dict[str, Any]) -> str:
    return str(row["provisional"] or row["identity"])


def _people(rows: Sequence[dict[str, Any]]) -> list[str]:
    named = {_person(row) for row in rows if row["provisional"] is None}
    strangers = {_person(row) for row in rows} - named
    return sorted(named) + sorted(strangers, key=lambda name: (len(name), name))


def _options(names: Sequence[str]) -> str:
    return "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in names)


def _date(record: ShownRecord, axis: _Axis) -> str:
    """The days of the footage where the cameras have a clock, else the day of the work."""
    if axis.origin is None:
        return (record.finished or "")[:10]
    first, last = (
        f"{moment.astimezone(UTC):%Y-%m-%d}"
        for moment in (axis.origin, axis.origin + timedelta(seconds=axis.last))
    )
    return first if first == last else f"{first} to {last}"


def _subtitle(record: ShownRecord, axis: _Axis) -> str:
    count = len(record.job.cameras)
    clock = "times in seconds of footage" if axis.origin is None else "times in UTC"
    return escape(f"{count} camera{'s' if count != 1 else ''}, {clock}")


def _blocks(
    rows: Sequence[dict[str, Any]], axis: _Axis, record: ShownRecord, folder: JobFolder, final: Path
) -> str:
    """A block for each person, named ones first: pictures, times, and how to give an unknown person a
    name.
    """
    of: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: axis.at(row, "start")):
        of.setdefault(_person(row), []).append(row)
    return "".join(_block(name, of[name], axis, record, folder, final) for name in _people(rows))


def _block(
    name: str,
    rows: Sequence[dict[str, Any]],
    axis: _Axis,
    record: ShownRecord,
    folder: JobFolder,
    final: Path,
) -> str:
    pictures = "".join(
        (
            f'<a href="#{_anchor(row)}">{_picture(row, folder.path, _SMALL)}<span>{escape(row["camera"])} '
            f"{_times(row, axis)}</span></a>"
        )
        for row in rows[:_PICTURES]
    )
    more = f'<p class="soft">and {len(rows) - _PICTURES} more below</p>' if len(rows) > _PICTURES else ""
    cameras = ", ".join(sorted({row["camera"] for row in rows}))
    seen = f"{len(rows)} sighting{'s' * (len(rows) > 1)}, {axis.text(axis.at(rows[0], 'start'))} to "
    seen += f"{axis.text(max(axis.at(row, 'end') for row in rows))}, in {cameras}"
    promote = ""
    if rows[0]["provisional"] is not None:
        # a job file may say ../people.db
        gallery = str(Path(record.job.gallery).resolve()) if record.job.gallery else "GALLERY"
        words = ["reid", "gallery", "promote", gallery, readable(final), name]
        line = f"{shlex.join(words)} NAME"
        promote = (
            '<p class="soft">to give a name, with the person\'s for NAME:</p><code '
            f'class="copy">{escape(line)}</code>'
        )
    head = f'<h3>{escape(name)}</h3><p class="soft">{escape(seen)}</p>'
    strip = f'<div class="strip">{pictures}</div>'
    return (
        f'<section class="person {_kind(rows[0])}" '
        f'data-person="{escape(name)}">{head}{strip}{more}{promote}</section>'
    )


def _times(row: dict[str, Any], axis: _Axis) -> str:
    return escape(f"{axis.text(axis.at(row, 'start'))} to {axis.text(axis.at(row, 'end'))}")


def _facts(record: ShownRecord) -> str:
    counts = record.counts
    shown = [
        ("sightings", counts.sightings),
        ("named", counts.named),
        ("unknown", counts.unknown),
        ("frames", counts.frames),
    ]
    return "".join(f"<li><b>{value:,}</b>{escape(name)}</li>" for name, value in shown)


def _problems(record: ShownRecord) -> str:
    if not record.problems:
        return ""
    lines = "".join(f"<p>{escape(line)}</p>" for line in record.problems)
    return f'<section class="problems" role="alert">{lines}</section>'


def _timeline(rows: Sequence[dict[str, Any]], axis: _Axis) -> str:
    lanes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        lanes.setdefault((_person(row), row["camera"]), []).append(row)
    order = {name: index for index, name in enumerate(_people(rows))}
    parts = []
    for person, camera in sorted(lanes, key=lambda lane: (order[lane[0]], lane[1])):
        bars = "".join(
            _bar(row, axis) for row in sorted(lanes[person, camera], key=lambda row: row["start_s"])
        )
        who = f'<span class="who">{escape(person)} <span class="soft">{escape(camera)}</span></span>'
        parts.append(f'<div class="row" data-lane>{who}<div class="lane">{bars}</div></div>')
    marks = [axis.first + (axis.last - axis.first) * step / 4 for step in range(5)]
    ends = "".join(f"<span>{axis.text(mark)}</span>" for mark in marks)
    return "".join(parts) + f'<div class="row"><span></span><div class="axis">{ends}</div></div>'


def _data(row: dict[str, Any], axis: _Axis) -> str:
    start, end = axis.at(row, "start"), axis.at(row, "end")
    person, camera = escape(_person(row)), escape(row["camera"])
    return f'data-person="{person}" data-camera="{camera}" data-start="{start:.2f}" data-end="{end:.2f}"'


def _kind(row: dict[str, Any]) -> str:
    return "unknown" if row["identity"] == "unknown" else "named"


def _bar(row: dict[str, Any], axis: _Axis) -> str:
    start, end = axis.at(row, "start"), axis.at(row, "end")
    left, width = axis.percent(start), axis.percent(end) - axis.percent(start)
    label = escape(f"{_person(row)}, camera {row['camera']}, {axis.text(start)} to {axis.text(end)}")
    place = f'style="left:{left:.2f}%;width:{width:.2f}%"'
    return (
        f'<a class="{_kind(row)}" href="#{_anchor(row)}" {place} {_data(row, axis)} title="{label}" '
        f'aria-label="{label}"></a>'
    )


def _anchor(row: dict[str, Any]) -> str:
    return escape(f"s-{row['camera']}-{row['tracklet']}")


def _card(row: dict[str, Any], axis: _Axis, record: ShownRecord, folder: JobFolder) -> str:
    lines = [
        ("camera", row["camera"]),
        ("seen", f"{axis.text(axis.at(row, 'start'))} to {axis.text(axis.at(row, 'end'))}"),
        ("frames", f"{row['frames']:,}"),
    ]
    if row["distance"] is not None:
        refused = row["identity"] == "unknown"
        lines.append(
            (
                "nearest" if refused else "distance",
                f"{row['nearest'] + ' ' if refused else ''}{row['distance']:.3f}",
            )
        )
        lines.append(("limit", f"{row['threshold']:.3f}"))
    if row["runner_up"] and row["runner_up_distance"] is not None:
        lines.append(("runner-up", f"{row['runner_up']} {row['runner_up_distance']:.3f}"))
        if row["identity"] == "unknown" and row["distance"] <= row["threshold"] and not record.job.rescore:
            lines.append(("why unknown", "the runner-up is nearly as near"))
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in lines)
    meter = '<p class="soft">nobody to compare with: the gallery is empty</p>'
    if row["distance"] is not None:
        sure = min(row["certainty"] / 0.3, 1.0)
        meter = (
            f'<meter min="0" max="1" low="0.25" high="0.6" optimum="1" value="{sure:.2f}" '
            'aria-label="certainty"></meter>'
        )
    heading = f'<h3>{escape(_person(row))} <span class="soft">#{row["tracklet"]}</span></h3>'
    body = f"{heading}<dl>{facts}</dl>{meter}{_watch(row, record, folder)}"
    data = f'{_data(row, axis)} data-certainty="{row["certainty"]:.4f}"'
    return (
        f'<article id="{_anchor(row)}" class="{_kind(row)}" '
        f"{data}>{_picture(row, folder.path)}<div>{body}</div></article>"
    )


def _picture(row: dict[str, Any], folder: Path, most: tuple[int, int] = _THUMBNAIL) -> str:
    path = folder / row["crop"]
    if not path.resolve().is_relative_to(folder.resolve()):  # of a job folder from outside
        return '<div class="blank"></div>'
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        return '<div class="blank"></div>'
    scale = min(1.0, most[0] / image.shape[1], most[1] / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    data = cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), _JPEG)[1].tobytes()
    text = escape(f"{_person(row)} as camera {row['camera']} saw them in frame {row['best_frame']}")
    return (
        f'<img alt="{text}" decoding="async" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
    )


def _watch(row: dict[str, Any], record: ShownRecord, folder: JobFolder) -> str:
    video = folder.video(row["camera"])
    if not video.is_file():
        return ""
    camera = record.counts.cameras.get(row["camera"])
    begin = (camera and camera.video_start_s) or 0.0
    at = max(row["start_s"] - begin, 0.0)
    return f'<a class="watch" href="{escape(video.name)}#t={at:.1f}">watch this moment</a>'


def _footer(record: ShownRecord) -> str:
    model, decision = record.model, record.decision
    facts = (
        f"model {model.name} ({model.fingerprint}), gallery version {record.gallery.version}, policy "
        f"{decision.policy}, "
        f"threshold {decision.threshold:.4f} ({decision.origin}), detector {record.job.detector.name}, "
        f"tracker {record.job.tracker.name}, {record.seconds.wall:.0f} s of work"
    )
    return escape(facts)
