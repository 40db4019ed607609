"""``job.json`` of an output folder, read back: checked, for it may be of another program or damaged."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reid.errors import ReidError
from reid.files import read_json
from reid.parquet import read_parquet
from reid.system_errors import shown
from serving.tables import DETECTIONS, JOB_NAME, SIGHTINGS

__all__ = [
    "DecidedRecord",
    "DoneRecord",
    "FinishedRecord",
    "ScoredRecord",
    "ShownRecord",
    "read_detections",
    "read_record",
    "read_sightings",
]

_WAY_OUT = "name the output folder of a job, or run the job again"
_MAY_BE_NULL = {"start_time", "end_time", "provisional", "nearest", "distance", "runner_up", "runner_up_distance"}
_FINITE = {"start_s", "end_s", "threshold", "certainty", "distance", "runner_up_distance"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Named(_Part):
    name: str


class _Camera(_Part):
    id: str
    frames: tuple[int, int] | None = None


class _Job(_Part):
    cameras: list[_Camera]


class _ShownJob(_Job):
    gallery: str | None = None
    detector: _Named
    tracker: _Named


class _Model(_Part):
    name: str
    fingerprint: str


class _Enrolled(_Part):
    identities: list[str]


class _Gallery(_Part):
    version: int


class _Threshold(_Part):
    threshold: float


class _Decision(_Threshold):
    policy: str
    origin: str = Field(alias="from")


class _OfCamera(_Part):
    video_start_s: float | None = None
    fps: float | None = None


class _CameraCounts(_Part):
    cameras: dict[str, _OfCamera] = {}


class _Counts(_CameraCounts):
    frames: int
    sightings: int
    named: int
    unknown: int


class _Seconds(_Part):
    wall: float


class ScoredRecord(_Part):
    """What scoring needs."""

    job: _Job
    gallery: _Enrolled
    counts: _CameraCounts = _CameraCounts()


class DecidedRecord(_Part):
    """What promoting needs."""

    decision: _Threshold


class ShownRecord(_Part):
    """What the report shows."""

    job: _ShownJob
    model: _Model
    gallery: _Gallery
    decision: _Decision
    counts: _Counts
    problems: list[str]
    seconds: _Seconds
    finished: str | None = None


class FinishedRecord(_Part):
    """What tells whose output a folder is."""

    job_key: str
    seen_key: str | None = None
    problems: list[str] = []


class DoneRecord(_Part):
    """What tells whether anything is left to do."""

    inputs: str
    written: list[str]
    counts: _Counts
    problems: list[str]
    notes: list[str]


def read_record(folder: Path, kind: type[_Part]) -> dict[str, Any]:
    """The job record of an output folder, of which the parts in ``kind`` are checked.

    Raises:
        UsageError: there is none.
        ReidError: it is not one that a job wrote.
    """
    path = folder / JOB_NAME
    value = read_json(path, "job record")
    try:
        kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ReidError(f"job record {path} is not what a job writes ({shown(key)}: {first['msg']}): {_WAY_OUT}") from error
    record: dict[str, Any] = value
    return record


def read_sightings(folder: Path, columns: Collection[str] = SIGHTINGS.names) -> pa.Table:
    """Columns of the sightings of an output folder; raises as :func:`read_record`."""
    schema = pa.schema([SIGHTINGS.field(name) for name in columns])
    filled = [name for name in columns if name not in _MAY_BE_NULL]
    finite = [name for name in columns if name in _FINITE]
    return read_parquet(folder / "sightings.parquet", "job output", _WAY_OUT, schema=schema, filled=filled, finite=finite)


def read_detections(folder: Path) -> pa.Table:
    """The boxes of an output folder; raises as :func:`read_record`."""
    path = folder / "detections.parquet"
    return read_parquet(path, "job output", _WAY_OUT, schema=DETECTIONS, filled=DETECTIONS.names, finite=("x", "y", "w", "h"))
