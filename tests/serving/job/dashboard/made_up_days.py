"""Days of sightings that nobody saw, as outputs of jobs: as many as are wanted, without footage."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reid.files import write_json
from serving.job.layout import SIGHTINGS, JobFolder, crop_name

_FIRST = datetime(2026, 5, 1, tzinfo=UTC)
_STAY_S = 20


def write_day(folder: Path, day: int, count: int, cameras: int, rng: np.random.Generator) -> None:
    """The output of a job of ``count`` sightings, in order of time: of ``count // 4`` people, of whom a tenth
    is enrolled.
    """
    folder.mkdir(parents=True)
    seconds = np.sort(rng.uniform(6 * 3600, 22 * 3600, count)) + 86_400 * day
    people = rng.integers(0, max(count // 4, 1), count)
    start = np.datetime64(_FIRST.replace(tzinfo=None), "us") + (seconds * 1e6).astype("timedelta64[us]")
    names = [f"camera-{number % cameras:02d}" for number in range(count)]
    columns = {
        one.name: pa.nulls(count, one.type) if pa.types.is_string(one.type) else pa.array(np.ones(count))
        for one in SIGHTINGS
    } | {
        "camera": pa.array(names),
        "tracklet": pa.array(np.arange(count)),
        "start_time": pa.array(start),
        "end_time": pa.array(start + np.timedelta64(_STAY_S, "s")),
        "start_s": pa.array(seconds),
        "end_s": pa.array(seconds + _STAY_S),
        "crop": pa.array([crop_name(camera, number) for number, camera in enumerate(names)]),
        "identity": pa.array(["unknown" if one % 10 else f"person-{one}" for one in people.tolist()]),
        "provisional": pa.array([f"unknown-{one}" if one % 10 else None for one in people.tolist()]),
    }
    cast = [columns[field.name].cast(field.type) for field in SIGHTINGS]
    pq.write_table(pa.Table.from_arrays(cast, schema=SIGHTINGS), JobFolder(folder).sightings)
    record = {"job": {"cameras": [], "gallery": "people.db"}, "finished": "2026-06-01T00:00:00+00:00"}
    write_json(JobFolder(folder).record, record)
