"""The page as a whole: template, style and script are files in ``serving/job/templates``."""

import shlex
from collections.abc import Sequence
from datetime import UTC, timedelta
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from reid.data.catalog import readable
from reid.files import atomic_path
from serving.job.corrections.document import sightings_digest
from serving.job.layout import JobFolder, open_job
from serving.job.record import ShownRecord
from serving.job.report.axis import Axis, Row, axis_of, people
from serving.job.report.blocks import blocks
from serving.job.report.cards import card
from serving.job.report.timeline import timeline

__all__ = ["render_report", "write_report"]

_SCRIPTS = ("report.js", "timeline.js", "corrections.js")  # one after the other: the page has one script


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


def render_report(record: ShownRecord, rows: Sequence[Row], folder: JobFolder, final: Path) -> str:
    """The page for a job record and its sightings; crops and videos are looked for in ``folder``, which will
    lie at ``final``.
    """
    rows = sorted(rows, key=lambda row: (row["certainty"], row["camera"], row["tracklet"]))
    axis = axis_of(rows)
    cameras = [camera.id for camera in record.job.cameras]
    return Template(_part("templates/report.html")).substitute(
        style=_part("templates/report.css"),
        script="".join(_part(f"templates/{name}") for name in _SCRIPTS),
        title=escape(", ".join(filter(None, [f"Camera report {readable(final.name)}", _date(record, axis)]))),
        subtitle=_subtitle(record, axis),
        blocks=blocks(rows, axis, record, folder, final) or '<p class="soft">Nobody was seen.</p>',
        facts=_facts(record),
        problems=_problems(record),
        people=_options(people(rows)),
        cameras=_options(cameras),
        unit="seconds or m:s" if axis.origin is None else "h:m:s UTC",
        first=axis.text(axis.first),
        last=axis.text(axis.last),
        begin=f"{axis.first:.2f}",
        end=f"{axis.last if axis.last > axis.first else axis.first + 1:.2f}",
        timeline=timeline(rows, axis),
        cards="".join(card(row, axis, record, folder) for row in rows),
        footer=_footer(record),
        job=sightings_digest(rows),
        command=escape(shlex.join(["reid", "report", readable(final), "--corrections", "corrections.json"])),
        day_start="" if axis.day_start is None else f"{axis.day_start:.3f}",
    )


def _part(name: str) -> str:
    return files("serving.job").joinpath(name).read_text(encoding="utf-8")


def _options(names: Sequence[str]) -> str:
    return "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in names)


def _date(record: ShownRecord, axis: Axis) -> str:
    """The days of the footage where the cameras have a clock, else the day of the work."""
    if axis.origin is None:
        return (record.finished or "")[:10]
    first, last = (
        f"{moment.astimezone(UTC):%Y-%m-%d}"
        for moment in (axis.origin, axis.origin + timedelta(seconds=axis.last))
    )
    return first if first == last else f"{first} to {last}"


def _subtitle(record: ShownRecord, axis: Axis) -> str:
    count = len(record.job.cameras)
    clock = "times in seconds of footage" if axis.origin is None else "times in UTC"
    return escape(f"{count} camera{'s' if count != 1 else ''}, {clock}")


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


def _footer(record: ShownRecord) -> str:
    model, decision = record.model, record.decision
    facts = (
        f"model {model.name} ({model.fingerprint}), gallery version {record.gallery.version}, policy "
        f"{decision.policy}, threshold {decision.threshold:.4f} ({decision.origin}), detector "
        f"{record.job.detector.name}, tracker {record.job.tracker.name}, {record.seconds.wall:.0f} s of work"
    )
    return escape(facts)
