"""What a job leaves behind: tables, crops, annotated videos, the job record and the report, in one folder that appears whole."""

import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reid.files import atomic_directory, write_json
from serving.annotate import Label, annotate_all
from serving.boxes import Boxes, boxes_of
from serving.gallery import Gallery
from serving.job import Camera, Job
from serving.matching import Match, identify
from serving.runs import CameraRun
from serving.sightings import Sighting, collect, pooled
from serving.video import ahead, queue_length, read_frames

__all__ = ["DETECTIONS", "JOB_NAME", "REPORT_NAME", "SIGHTINGS", "write_outputs"]

JOB_NAME = "job.json"
REPORT_NAME = "report.html"
FILL_GAP_S = 2.0  # shorter gaps of a sighting are filled with boxes on a straight line

_SECONDS = pa.timestamp("us", tz="UTC")
SIGHTINGS = pa.schema(
    [
        ("camera", pa.string()),
        ("tracklet", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("start_time", _SECONDS),
        ("end_time", _SECONDS),
        ("start_frame", pa.int64()),
        ("end_frame", pa.int64()),
        ("frames", pa.int64()),
        ("best_frame", pa.int64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("w", pa.float64()),
        ("h", pa.float64()),
        ("crop", pa.string()),
        ("identity", pa.string()),
        ("nearest", pa.string()),
        ("distance", pa.float64()),
        ("threshold", pa.float64()),
        ("runner_up", pa.string()),
        ("runner_up_distance", pa.float64()),
        ("certainty", pa.float64()),
    ]
)
DETECTIONS = pa.schema(
    [
        ("camera", pa.string()),
        ("frame", pa.int64()),
        ("tracklet", pa.int64()),
        ("x", pa.float32()),
        ("y", pa.float32()),
        ("w", pa.float32()),
        ("h", pa.float32()),
        ("confidence", pa.float32()),
        ("identity", pa.string()),
    ]
)


def write_outputs(
    job: Job, runs: Sequence[CameraRun], gallery: Gallery, threshold: float, work: Path, out: Path, facts: dict[str, Any], began: float
) -> dict[str, Any]:
    """Join, name and write everything that the segments in ``work`` found; return the job record."""
    clock = time.perf_counter()
    seconds = _seconds_of_segments(runs)
    sightings = {run.camera.id: collect(run.camera.id, run.segments, work, job.link, threshold, job.tracker.min_frames) for run in runs}
    everyone = [one for run in runs for one in sightings[run.camera.id]]
    matches = _matches(everyone, gallery, threshold, job)
    seconds["joining_and_matching"] = time.perf_counter() - clock
    names = {(one.camera, one.number): match for one, match in zip(everyone, matches, strict=True)}
    with atomic_directory(out) as folder:
        clock = time.perf_counter()
        cameras = {run.camera.id: run.camera for run in runs}
        rows = [_sighting_row(one, match, cameras[one.camera]) for one, match in zip(everyone, matches, strict=True)]
        pq.write_table(pa.Table.from_pylist(rows, schema=SIGHTINGS), folder / "sightings.parquet")
        boxes = _write_detections(runs, sightings, names, work, folder / "detections.parquet")
        if job.outputs.crops:
            _write_crops(everyone, folder)
        seconds["tables"] = time.perf_counter() - clock
        clock = time.perf_counter()
        video_start_s: dict[str, float | None] = {}
        if job.outputs.video:
            video_start_s = {run.camera.id: _write_video(run, names, folder, job) for run in runs}
        seconds["video"] = time.perf_counter() - clock
        seconds["wall"] = time.perf_counter() - began
        record = facts | {
            "counts": _counts(runs, rows, boxes, video_start_s),
            "seconds": {step: round(value, 3) for step, value in seconds.items()},
        }
        write_json(folder / JOB_NAME, record)
        if job.outputs.report:
            from serving.report import write_report

            write_report(folder, folder / REPORT_NAME)
    return record


def _matches(sightings: Sequence[Sighting], gallery: Gallery, threshold: float, job: Job) -> list[Match]:
    if not sightings:
        return []
    embeddings = np.stack([pooled(one.members) for one in sightings])
    return list(identify(embeddings, gallery, threshold, job.policy, job.top_k))


def _sighting_row(one: Sighting, match: Match, camera: Camera) -> dict[str, object]:
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
        "crop": f"crops/{one.camera}-{one.number:05d}.jpg",
        "identity": match.identity,
        "nearest": match.nearest,
        "distance": _finite(match.distance),
        "threshold": match.threshold,
        "runner_up": match.runner_up,
        "runner_up_distance": _finite(match.runner_up_distance),
        "certainty": certainty(match),
    }


def certainty(match: Match) -> float:
    """How far a decision is from tipping over, as a distance: to the threshold, and for a name also to the runner-up.

    Small means uncertain; sightings are shown in this order.
    """
    to_threshold = min(abs(match.threshold - match.distance), 2.0)
    if match.identity == "unknown":
        return to_threshold
    return min(to_threshold, match.margin)


def _finite(distance: float) -> float | None:
    return distance if math.isfinite(distance) else None


def _clock(start: datetime | None, seconds: float) -> datetime | None:
    if start is None:
        return None
    # A start without a zone is taken as this machine's local time.
    return start.astimezone() + timedelta(seconds=seconds)


def _write_detections(
    runs: Sequence[CameraRun], sightings: dict[str, list[Sighting]], names: dict[tuple[str, int], Match], work: Path, path: Path
) -> int:
    rows = 0
    with pq.ParquetWriter(path, DETECTIONS) as writer:
        for run in runs:
            if run.footage is None:
                continue
            camera, step = run.camera.id, run.camera.step
            max_gap = max(step, round(FILL_GAP_S * run.footage.fps))
            for boxes in boxes_of(sightings[camera], run.segments, work, step, max_gap):
                writer.write_table(_detections_table(camera, boxes, names))
                rows += len(boxes)
    return rows


def _detections_table(camera: str, boxes: Boxes, names: dict[tuple[str, int], Match]) -> pa.Table:
    columns = {
        "camera": pa.array([camera] * len(boxes), pa.string()),
        "frame": boxes.frame,
        "tracklet": boxes.sighting,
        "confidence": boxes.confidence,
        "identity": pa.array([names[camera, int(number)].identity for number in boxes.sighting], pa.string()),
        **{name: boxes.xywh[:, column] for column, name in enumerate("xywh")},
    }
    return pa.table({field.name: columns[field.name] for field in DETECTIONS}, schema=DETECTIONS)


def _write_crops(sightings: Sequence[Sighting], folder: Path) -> None:
    (folder / "crops").mkdir()
    for one in sightings:
        (folder / "crops" / f"{one.camera}-{one.number:05d}.jpg").write_bytes(one.best.row["best_jpeg"])


class _Labels:
    """What is written on each frame, read from the table a little ahead of the frame that is asked for."""

    def __init__(self, path: Path, camera: str, names: dict[tuple[str, int], Match]) -> None:
        self._batches = self._read(path, camera)
        self._names, self._camera = names, camera
        self._waiting: dict[int, list[Label]] = {}
        self._until = -1

    def at(self, number: int) -> list[Label]:
        """The labels of a frame; frames are asked for in rising order."""
        # Boxes filled in across a segment's border stand in the batch after it, which is thus read too.
        while self._until < number and (batch := next(self._batches, None)) is not None:
            self._until = self._take(batch)
        for old in [frame for frame in self._waiting if frame < number]:
            del self._waiting[old]
        return self._waiting.pop(number, [])

    @staticmethod
    def _read(path: Path, camera: str) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                if table.num_rows and table["camera"][0].as_py() == camera:
                    yield table

    def _take(self, table: pa.Table) -> int:
        columns = [table[name].to_pylist() for name in ("frame", "tracklet", "x", "y", "w", "h")]
        for frame, number, x, y, w, h in zip(*columns, strict=True):
            identity = self._names[self._camera, number].identity
            self._waiting.setdefault(frame, []).append(Label((x, y, x + w, y + h), f"{identity} #{number}", identity))
        return int(columns[0][0])


def _write_video(run: CameraRun, names: dict[tuple[str, int], Match], folder: Path, job: Job) -> float | None:
    """Write a camera's annotated video; return the time of its first frame, None where there is no video."""
    if run.footage is None or run.footage.live or not run.segments:
        return None
    footage = run.footage
    frames = ahead(read_frames(footage, run.segments[0].first, run.segments[-1].last, run.camera.step), queue_length(footage))
    labels = _Labels(folder / "detections.parquet", run.camera.id, names)
    path = folder / f"annotated-{run.camera.id}.webm"
    return annotate_all(path, frames, labels.at, (footage.width, footage.height), footage.fps / run.camera.step, job.outputs.video_height)


def _seconds_of_segments(runs: Sequence[CameraRun]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for counts in (counts for run in runs for counts in run.counts.values()):
        for step, value in counts["seconds"].items():
            seconds[step] = seconds.get(step, 0.0) + value
    return seconds


def _counts(
    runs: Sequence[CameraRun], rows: Sequence[dict[str, object]], boxes: int, video_start_s: dict[str, float | None]
) -> dict[str, Any]:
    def of(camera: str | None) -> dict[str, Any]:
        chosen = [row for row in rows if camera in (None, row["camera"])]
        counts = [counts for run in runs for counts in run.counts.values() if camera in (None, run.camera.id)]
        return {
            "frames": sum(one["frames"] for one in counts),
            "crops_embedded": sum(one["crops"] for one in counts),
            "sightings": len(chosen),
            "named": sum(row["identity"] != "unknown" for row in chosen),
            "unknown": sum(row["identity"] == "unknown" for row in chosen),
        }

    cameras = {run.camera.id: of(run.camera.id) | {"video_start_s": video_start_s.get(run.camera.id)} for run in runs}
    return of(None) | {"detections": boxes, "cameras": cameras}
