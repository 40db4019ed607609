"""The tables and the record of a job's output folder: their names, columns and types."""

import pyarrow as pa

__all__ = ["DETECTIONS", "JOB_NAME", "SIGHTINGS"]

JOB_NAME = "job.json"

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
        ("provisional", pa.string()),
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
