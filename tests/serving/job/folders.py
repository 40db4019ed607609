"""A job's output folder, written from rows of sightings."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from serving.job.layout import SIGHTINGS, JobFolder
from serving.job.record import SCHEMA, JobRecord

EVIL = '<script>alert("x")</script>&\'"'
START = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def sighting(
    camera: str, number: int, identity: str, start: float, end: float, certainty: float, clock: bool = True
) -> dict[str, object]:
    known = identity != "unknown"
    return {
        "camera": camera,
        "tracklet": number,
        "start_s": start,
        "end_s": end,
        "start_time": START + timedelta(seconds=start) if clock else None,
        "end_time": START + timedelta(seconds=end) if clock else None,
        "start_frame": int(start * 10) + 1,
        "end_frame": int(end * 10) + 1,
        "frames": int((end - start) * 10),
        "best_frame": int(start * 10) + 5,
        "x": 1.0,
        "y": 2.0,
        "w": 30.0,
        "h": 80.0,
        "crop": f"crops/{camera}-{number:05d}.jpg",
        "identity": identity,
        "provisional": None if known else f"unknown-{number}",
        "nearest": identity if known else EVIL,
        "distance": 0.3 if known else 0.8,
        "threshold": 0.5,
        "runner_up": "other",
        "runner_up_distance": 0.9,
        "certainty": certainty,
    }


def record(cameras: list[str], sightings: int, problems: list[str]) -> dict[str, object]:
    """``job.json`` of a job that came to this, checked by the model that jobs write it with."""
    counts = {"frames": 1234, "crops_embedded": 0, "sightings": sightings, "named": 1, "unknown": 1}
    value = {
        "schema": SCHEMA,
        "job": {
            "cameras": [{"id": one} for one in cameras],
            "detector": {"name": "motion"},
            "tracker": {"name": "botsort"},
        },
        "job_key": "k",
        "seen_key": "s",
        "inputs": None,
        "model": {"name": EVIL, "fingerprint": "abc", "backend": "onnxruntime"},
        "gallery": {"version": 7, "identities": ["anna"]},
        "decision": {
            "policy": "min",
            "threshold": 0.5,
            "from": "job",
            "top_k": 3,
            "ratio_test": 1.0,
            "rescore": False,
        },
        "counts": counts
        | {"detections": 0, "cameras": {one: counts | {"video_start_s": 0.0} for one in cameras}},
        "problems": problems,
        "notes": [],
        "written": ["job.json"],
        "finished": "2026-05-04T12:00:00+00:00",
        "seconds": {"wall": 12.0},
    }
    return JobRecord.model_validate(value).as_dict()


def folder_of(place: Path, rows: list[dict[str, object]], problems: list[str] | None = None) -> Path:
    (place / "crops").mkdir(parents=True)
    for row in rows:
        image = np.full((90, 40, 3), (60 + 20 * int(row["tracklet"])) % 256, np.uint8)
        cv2.imwrite(str(place / row["crop"]), image)
    pq.write_table(pa.Table.from_pylist(rows, schema=SIGHTINGS), place / "sightings.parquet")
    cameras = sorted({str(row["camera"]) for row in rows}) or ["c1"]
    JobFolder(place).record.write_text(json.dumps(record(cameras, len(rows), problems or [])))
    return place


ROWS = [
    sighting("east", 1, "anna", 2, 12, 0.4),
    sighting("east", 2, "unknown", 20, 31, 0.01),
    sighting("west", 1, "anna", 40, 55, 0.2),
    sighting("west", 2, EVIL, 50, 60, 0.3),
]
