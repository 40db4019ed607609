"""What a job leaves behind: tables, crops, annotated videos, the job record and the report, in one folder
that appears whole.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError
from reid.files import atomic_directory, write_json
from serving.job.encryption import opening
from serving.job.kept import keep, take_video
from serving.job.layout import DETECTIONS, SIGHTINGS, JobFolder, Key, WorkFolder, crop_name, stranger_name
from serving.job.people import Identification, People, identified, tally
from serving.job.record import SCHEMA, JobFacts, JobRecord
from serving.job.segments.camera import CameraState, note_lines, problem_lines
from serving.job.segments.frame_choice import LOOKS
from serving.job.segments.segment import DECODED
from serving.job.sightings.embeddings import write_embeddings
from serving.job.sightings.interpolation import Boxes, boxes_of
from serving.job.sightings.over_cameras import span_of
from serving.job.sightings.sightings import Sighting
from serving.job.stranger_file import write_strangers
from serving.job.video import write_video
from serving.matching import Match
from serving.protocols import is_stream
from serving.spec import Camera, Job

__all__ = ["write_outputs"]

_LOOKED = ("looked_at", "forced", "skipped", "between", "undecoded")  # of the looks, those in the record
FILL_GAP_S = 2.0  # shorter gaps of a sighting are filled with boxes on a straight line


def write_outputs(
    job: Job,
    runs: Sequence[CameraState],
    work: WorkFolder,
    out: Path,
    facts: JobFacts,
    by: Identification,
    began: float,
) -> dict[str, Any]:
    """Join, name and write everything that the segments in ``work`` found; return the job record.

    ``began``: when the job did, as of ``time.perf_counter``.
    """
    clock = time.perf_counter()
    seconds = _seconds_of_segments(runs)
    before = (
        JobFolder(out)
        if job.outputs.segments and JobFolder(out).kept.read_ledger() == work.read_ledger()
        else None
    )
    people = identified(job, runs, work, by, before)
    seconds["joining_and_matching"] = time.perf_counter() - clock
    with atomic_directory(out, private=True) as temporary:
        folder = JobFolder(temporary)
        clock = time.perf_counter()
        rows = _write_people(folder, job, people, facts.model.fingerprint)
        boxes = _write_detections(runs, people, work, folder.detections)
        if job.outputs.crops:
            folder.crops.mkdir()
            for run in runs:
                _write_crops(run, people.of[run.camera.id], work, folder)
        seconds["tables"] = time.perf_counter() - clock
        clock = time.perf_counter()
        video_start_s: dict[str, float | None] = {}
        if job.outputs.video:
            video_start_s = {run.camera.id: _write_video(run, folder, job, before) for run in runs}
        seconds["video"] = time.perf_counter() - clock
        there = {path.name for path in temporary.iterdir()}
        there |= {folder.video(run.camera.id).name for run in runs if _owed(run, folder, job)}
        written = sorted(there) + [folder.report.name] * job.outputs.report
        if job.outputs.segments and not any(is_stream(camera.source) for camera in job.cameras):
            keep(work, folder)
        seconds["wall"] = time.perf_counter() - began
        record = facts.as_dict() | {
            "schema": SCHEMA,
            "written": written,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "problems": problem_lines(runs),
            "notes": [*by.notes, *note_lines(runs)],
            "over_cameras": people.over_cameras,
            "counts": _counts(runs, rows, boxes, video_start_s),
            "seconds": {step: round(value, 3) for step, value in seconds.items()},
        }
        write_json(folder.record, JobRecord.model_validate(record).as_dict())
        if job.outputs.report:
            from serving.job.report import write_report

            write_report(folder.path, folder.report, out)
    return record


def _write_people(folder: JobFolder, job: Job, people: People, fingerprint: str) -> list[dict[str, object]]:
    """The tables with a row a sighting; returns the rows of the first."""
    rows = [
        _sighting_row(
            one, match, None if number is None else stranger_name(number), people.cameras[one.camera]
        )
        for one, match, number in zip(people.sightings, people.matches, people.numbers, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SIGHTINGS), folder.sightings)
    unknown = [
        _stranger_row(one, embedding, number, people.cameras[one.camera])
        for one, embedding, number in zip(people.sightings, people.embeddings, people.numbers, strict=True)
        if number is not None
    ]
    write_strangers(folder.strangers, unknown, fingerprint, people.series)
    if job.outputs.embeddings:
        keys = [(one.camera, one.number) for one in people.sightings]
        write_embeddings(folder.embeddings, keys, people.embeddings, fingerprint)
    return rows


def _stranger_row(
    one: Sighting, embedding: npt.NDArray[np.float32], number: int, camera: Camera
) -> dict[str, object]:
    start, end = span_of(one, camera) if camera.start_time else (None, None)
    quality = float(one.best.row["best_quality"])
    row = {
        "camera": one.camera,
        "tracklet": one.number,
        "number": number,
        "start": start,
        "end": end,
        "quality": quality,
    }
    return row | {"crop": crop_name(one.camera, one.number), "embedding": embedding}


def _sighting_row(one: Sighting, match: Match, provisional: str | None, camera: Camera) -> dict[str, object]:
    best = one.best.row
    x0, y0, x1, y1 = best["best_box"]
    return {
        "camera": one.camera,
        "tracklet": one.number,
        "start_s": one.start_s,
        "end_s": one.end_s,
        "start_time": _clock(camera.start_time, one.start_s),
        "end_time": _clock(camera.start_time, one.end_s),
        "start_frame": min(member.row["first_frame"] for member in one.members),
        "end_frame": max(member.row["last_frame"] for member in one.members),
        "frames": sum(member.row["frames"] for member in one.members),
        "best_frame": best["best_frame"],
        "x": x0,
        "y": y0,
        "w": x1 - x0,
        "h": y1 - y0,
        "crop": crop_name(one.camera, one.number),
        "identity": match.identity,
        "provisional": provisional,
        "nearest": match.nearest,
        "distance": _finite(match.distance),
        "threshold": match.threshold,
        "runner_up": match.runner_up,
        "runner_up_distance": _finite(match.runner_up_distance),
        "certainty": certainty(match),
    }


def certainty(match: Match) -> float:
    """How far a decision is from tipping over, as a distance: to the threshold, and within it also to the
    runner-up.

    Small means uncertain; sightings are shown in this order.
    """
    to_threshold = min(abs(match.threshold - match.distance), 2.0)
    return min(to_threshold, match.margin) if match.distance <= match.threshold else to_threshold


def _finite(distance: float) -> float | None:
    return distance if math.isfinite(distance) else None


def _clock(start: datetime | None, seconds: float) -> datetime | None:
    if start is None:
        return None
    # A start without a zone is taken as this machine's local time.
    return start.astimezone() + timedelta(seconds=seconds)


def _write_detections(runs: Sequence[CameraState], people: People, work: WorkFolder, path: Path) -> int:
    matched = zip(people.sightings, people.matches, strict=True)
    names = {(one.camera, one.number): match for one, match in matched}
    rows = 0
    with pq.ParquetWriter(path, DETECTIONS) as writer:
        for run in runs:
            if run.footage is None:
                continue
            camera, step = run.camera.id, run.camera.step
            max_gap = max(step, round(FILL_GAP_S * run.footage.fps))
            for boxes in boxes_of(people.of[camera], run.segments, work, step, max_gap):
                writer.write_table(_detections_table(camera, boxes, names))
                rows += len(boxes)
    return rows


def _detections_table(camera: str, boxes: Boxes, names: dict[Key, Match]) -> pa.Table:
    columns = {
        "camera": pa.array([camera] * len(boxes), pa.string()),
        "frame": boxes.frame,
        "tracklet": boxes.sighting,
        "confidence": boxes.confidence,
        "identity": pa.array([names[camera, int(number)].identity for number in boxes.sighting], pa.string()),
        **{name: boxes.xywh[:, column] for column, name in enumerate("xywh")},
    }
    return pa.table({field.name: columns[field.name] for field in DETECTIONS}, schema=DETECTIONS)


def _write_crops(
    run: CameraState, sightings: Sequence[Sighting], work: WorkFolder, folder: JobFolder
) -> None:
    best = {(member.segment, member.raw): one.number for one in sightings for member in [one.best]}
    for segment in run.segments:
        people = work.segment(segment.name).people
        stored = pq.read_table(
            people, columns=["raw", "best_jpeg"], decryption_properties=opening(people, "segment")
        )
        for raw, jpeg in zip(stored["raw"].to_pylist(), stored["best_jpeg"].to_pylist(), strict=True):
            if (number := best.get((segment.index, raw))) is not None:
                (folder.path / crop_name(run.camera.id, number)).write_bytes(jpeg)


def _write_video(run: CameraState, folder: JobFolder, job: Job, before: JobFolder | None) -> float | None:
    """``before`` is an output of the same footage: where the same is drawn, its video is taken."""
    try:
        if (
            before is not None
            and (start_s := take_video(run.camera.id, before, folder, job.outputs.video_height)) is not None
        ):
            return start_s
        if run.footage is not None and not run.footage.clips:
            return None  # people are named anew without the footage: `reid match` draws what is missing
        return write_video(run, folder, job.outputs.video_height, job.stall_s)
    except ReidError as error:
        # The tables stand: footage that has gone since, or stands still, costs the picture of it alone.
        run.problems.append(f"no annotated video: {error}")
        return None


def _owed(run: CameraState, folder: JobFolder, job: Job) -> bool:
    """Whether the video of a camera whose footage is not at hand is to be drawn by whoever has it."""
    there = folder.video(run.camera.id).is_file()
    return job.outputs.video and run.footage is not None and not run.footage.clips and not there


def _seconds_of_segments(runs: Sequence[CameraState]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for counts in (counts for run in runs for counts in run.counts.values()):
        for step, value in counts["seconds"].items():
            seconds[step] = seconds.get(step, 0.0) + value
    return seconds


def _summed(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return dict(total)


def _counts(
    runs: Sequence[CameraState],
    rows: Sequence[dict[str, object]],
    boxes: int,
    video_start_s: dict[str, float | None],
) -> dict[str, Any]:
    def of(camera: str | None) -> dict[str, Any]:
        chosen = [row for row in rows if camera in (None, row["camera"])]
        counts = [counts for run in runs for counts in run.counts.values() if camera in (None, run.camera.id)]
        looks = [one.get(LOOKS, {}) for one in counts]
        return {
            "frames": sum(one["frames"] for one in counts),
            **{name: sum(one.get(name, 0) for one in looks) for name in _LOOKED},
            DECODED: _summed(one.get(DECODED, {}) for one in counts),
            "crops_embedded": sum(one["crops"] for one in counts),
            **tally(chosen),
        }

    cameras = {
        run.camera.id: of(run.camera.id)
        | {
            "video_start_s": video_start_s.get(run.camera.id),
            "fps": None if run.footage is None else run.footage.fps,
            "width": None if run.footage is None else run.footage.width,
            "height": None if run.footage is None else run.footage.height,
        }
        for run in runs
    }
    return of(None) | {"detections": boxes, "cameras": cameras}
