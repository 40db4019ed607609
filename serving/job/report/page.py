"""The page as a whole: template, style and scripts are files in ``serving/job/templates``."""

import shlex
from datetime import UTC, timedelta
from pathlib import Path

from reid.data.catalog import readable
from reid.pages import write_html
from serving.job.corrections.document import sightings_digest
from serving.job.layout import key_of, open_job
from serving.job.record import ShownRecord
from serving.job.report.axis import Axis, axis_of
from serving.job.report.blocks import blocks
from serving.job.report.cards import cards
from serving.job.report.sighting import describe, people
from serving.job.report.timeline import lanes, marks

__all__ = ["write_report"]


def write_report(folder: Path | str, path: Path | str, final: Path | None = None) -> None:
    """Write the report of a job's output folder to ``path``, whole or not at all; ``final`` is where the
    folder will lie, if elsewhere.

    Raises:
        UsageError: the folder is not that of a finished job.
    """
    job = open_job(folder, ShownRecord)
    record, final = job.record, (final or job.files.path).absolute()
    rows = sorted(job.files.read_sightings().to_pylist(), key=lambda row: (row["certainty"], *key_of(row)))
    axis = axis_of(rows)
    sightings = [describe(row, axis) for row in rows]
    root = job.files.path.resolve()
    write_html(
        path,
        "serving.job",
        "page.html",
        title=", ".join(filter(None, [f"Camera report {readable(final.name)}", _date(record, axis)])),
        subtitle=_subtitle(record, axis),
        blocks=blocks(sightings, record, root, final),
        counts=record.counts,
        problems=record.problems,
        people=people(sightings),
        cameras=[camera.id for camera in record.job.cameras],
        unit="seconds or m:s" if axis.origin is None else "h:m:s UTC",
        axis=axis,
        marks=marks(axis),
        lanes=lanes(sightings),
        cards=cards(sightings, record, job.files, root),
        footer=_footer(record),
        job=sightings_digest(rows),
        command=shlex.join(["reid", "report", readable(final), "--corrections", "corrections.json"]),
    )


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
    return f"{count} camera{'s' if count != 1 else ''}, {clock}"


def _footer(record: ShownRecord) -> str:
    model, decision = record.model, record.decision
    return (
        f"model {model.name} ({model.fingerprint}), gallery version {record.gallery.version}, policy "
        f"{decision.policy}, threshold {decision.threshold:.4f} ({decision.origin}), detector "
        f"{record.job.detector.name}, tracker {record.job.tracker.name}, {record.seconds.wall:.0f} s of work"
    )
