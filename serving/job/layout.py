"""What a job leaves behind and what it works in: the names of the files, the columns of the tables, and how
they are read.

No other module spells one of these names.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from reid.errors import ReidError, UsageError
from reid.files import read_json
from reid.parquet import read_parquet
from reid.system_errors import shown
from serving.gallery import UNKNOWN
from serving.job.record import SCHEMA, RecordPart
from serving.protocols import STORES

__all__ = [
    "DETECTIONS",
    "NAMED",
    "SIGHTINGS",
    "JobFolder",
    "JobOutput",
    "Key",
    "SegmentFolder",
    "WorkFolder",
    "crop_name",
    "is_called",
    "is_stranger",
    "key_of",
    "name_of",
    "open_job",
    "segment_name",
    "sighting_name",
    "stranger_name",
    "stranger_number",
    "xywh_columns",
    "xyxy_of",
]

Key = tuple[str, int]
"""Camera and tracklet of a sighting."""
_WAY_OUT = "name the output folder of a job, or run the job again"
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
NAMED = ("camera", "tracklet", "identity", "provisional")
"""Of the sightings' columns, those that say who each shows."""
_MAY_BE_NULL = {
    "start_time",
    "end_time",
    "provisional",
    "nearest",
    "distance",
    "runner_up",
    "runner_up_distance",
}
_STRANGER = re.compile(rf"{UNKNOWN}-[1-9]\d*", re.ASCII)  # as in templates/corrections.js
_FINITE = {"start_s", "end_s", "threshold", "certainty", "distance", "runner_up_distance"}


def name_of(row: Mapping[str, Any]) -> str:
    """How the job calls the person of a sighting: known, or by a provisional name."""
    return str(row["provisional"] or row["identity"])


def stranger_name(number: int) -> str:
    """What a job calls somebody unknown."""
    return f"{UNKNOWN}-{number}"


def is_stranger(person: str) -> bool:
    """Whether this is what a job calls somebody unknown."""
    return _STRANGER.fullmatch(person) is not None


def stranger_number(person: str) -> int:
    """The number in the name of somebody unknown."""
    return int(person.rpartition("-")[2])


def key_of(row: Mapping[str, Any]) -> Key:
    """What tells a sighting from others of its job."""
    return row["camera"], row["tracklet"]


def sighting_name(camera: str, number: int) -> str:
    """A sighting as files and commands name it."""
    return f"{camera}:{number}"


def crop_name(camera: str, number: int) -> str:
    """The crop of a sighting, below the output folder, as its tables name it."""
    return f"crops/{camera}-{number:05d}.jpg"


def is_called(row: Mapping[str, Any], text: str) -> bool:
    """Whether a sighting is meant: by the name of its crop, with or without the zeros, or by its own."""
    camera, number = key_of(row)
    return text in (sighting_name(camera, number), f"{camera}-{number}", Path(crop_name(camera, number)).stem)


def segment_name(camera: str, index: int) -> str:
    """The folder of a segment."""
    return f"{camera}-{index:05d}"


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of an output folder, whether they are there or not; ``crops``, videos and report are only
    where the job wants them.

    Raises:
        UsageError: the folder is an address in a store.
    """

    path: Path

    def __post_init__(self) -> None:
        scheme, colon, rest = str(self.path).partition(":/")
        if colon and scheme in STORES and not self.path.exists():
            raise UsageError(
                f"output {scheme}://{rest} is in a store: copy it into a folder here and name that"
            )

    @property
    def record(self) -> Path:
        """What the job says of itself, see :class:`serving.job.record.JobRecord`."""
        return self.path / "job.json"

    @property
    def sightings(self) -> Path:
        """A row a sighting, :data:`SIGHTINGS`."""
        return self.path / "sightings.parquet"

    @property
    def detections(self) -> Path:
        """A row a box, :data:`DETECTIONS`."""
        return self.path / "detections.parquet"

    @property
    def strangers(self) -> Path:
        """A row a sighting of somebody unknown, with its embedding; see :mod:`serving.job.stranger_file`."""
        return self.path / "strangers.parquet"

    @property
    def embeddings(self) -> Path:
        """A sighting's embedding a row, in the order of the sightings; see
        :mod:`serving.job.sightings.embeddings`.
        """
        return self.path / "embeddings.parquet"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def score(self) -> Path:
        """How right the job was, written by ``reid score``."""
        return self.path / "score.json"

    @property
    def crops(self) -> Path:
        """The folder of the crops that :func:`crop_name` names."""
        return self.path / "crops"

    @property
    def kept(self) -> "WorkFolder":
        """The stored segments that the output was made from, for naming people anew; see
        :mod:`serving.job.kept`.
        """
        return WorkFolder(self.path / "kept-segments")

    def read_sightings(self, columns: Collection[str] = SIGHTINGS.names) -> pa.Table:
        """Columns of the sightings.

        Raises:
            UsageError: there is no such table.
            ReidError: it is damaged.
        """
        schema = pa.schema([SIGHTINGS.field(name) for name in columns])
        filled = [name for name in columns if name not in _MAY_BE_NULL]
        finite = [name for name in columns if name in _FINITE]
        return read_parquet(
            self.sightings, "job output", _WAY_OUT, schema=schema, filled=filled, finite=finite
        )

    def read_detections(self) -> pa.Table:
        """The boxes; raises as :meth:`read_sightings`."""
        finite = ("x", "y", "w", "h")
        return read_parquet(
            self.detections, "job output", _WAY_OUT, schema=DETECTIONS, filled=DETECTIONS.names, finite=finite
        )

    def video(self, camera: str) -> Path:
        """A camera's annotated video."""
        return self.path / f"annotated-{camera}.webm"

    def video_part(self, camera: str, index: int) -> Path:
        """A stretch of it while it is made."""
        return self.path / f".{camera}-{index}.webm"


@dataclass(frozen=True, slots=True)
class SegmentFolder:
    """The files of one stored segment."""

    path: Path

    @property
    def boxes(self) -> Path:
        """A row a box."""
        return self.path / "detections.parquet"

    @property
    def people(self) -> Path:
        """A row a tracklet, ``serving.job.segments.tables.PEOPLE``."""
        return self.path / "tracklets.parquet"

    @property
    def counts(self) -> Path:
        """What was counted, and the seconds of each step."""
        return self.path / "counts.json"


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """A folder of stored segments: hidden beside an output folder while the job works, then kept in it."""

    path: Path

    @classmethod
    def of(cls, out: Path) -> "WorkFolder":
        """That of a job that is not done. Absolute: a relative one might begin with ~, which pyarrow takes
        for somebody's home.
        """
        return cls(out.parent.absolute() / f".{out.name}.work")

    @classmethod
    def of_finished(cls, out: Path) -> "WorkFolder":
        """That of a job that is done, on its way out."""
        return cls(out.parent / f".{out.name}.done")

    @property
    def ledger(self) -> Path:
        """What the segments are of."""
        return self.path / "ledger.json"

    def read_ledger(self) -> dict[str, Any]:
        """The ledger; empty where there is none, or where it is damaged or of another program."""
        try:
            stored = read_json(self.ledger, "ledger")
        except ReidError:
            return {}
        return stored if isinstance(stored, dict) else {}

    def segment(self, name: str) -> SegmentFolder:
        """A segment's own folder, see :func:`segment_name`."""
        return SegmentFolder(self.path / name)

    def segments_of(self, camera: str) -> list[SegmentFolder]:
        """The stored segments of a camera, in order."""
        stored = sorted(self.path.glob(f"{camera}-[0-9][0-9][0-9][0-9][0-9]"))
        return [folder for path in stored if (folder := SegmentFolder(path)).counts.exists()]


Kind = TypeVar("Kind", bound=RecordPart)


@dataclass(frozen=True)
class JobOutput(Generic[Kind]):
    """A finished job: its files, and the parts of its record that were asked for."""

    files: JobFolder
    record: Kind


def open_job(folder: Path | str, kind: type[Kind]) -> JobOutput[Kind]:
    """A finished job's output folder, of whose record the parts in ``kind`` are checked.

    Raises:
        UsageError: there is no job record.
        ReidError: it is not one that a job wrote, or a later version of this program wrote it.
    """
    files = JobFolder(Path(folder))
    value = read_json(files.record, "job record")
    if isinstance(value, dict) and isinstance(value.get("schema"), int) and value["schema"] > SCHEMA:
        raise ReidError(
            f"job record {files.record} is of a later version (schema {value['schema']}, here "
            f"{SCHEMA}): update reid-pipeline"
        )
    try:
        return JobOutput(files, kind.model_validate(value))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ReidError(
            f"job record {files.record} is not what a job writes ({shown(key)}: {first['msg']}): {_WAY_OUT}"
        ) from error


def xyxy_of(table: pa.Table, dtype: type[np.float32] | type[np.float64]) -> npt.NDArray[Any]:
    """The boxes of a table (N, 4): left, top, right, bottom, computed in ``dtype``; tables hold left, top,
    width, height.
    """
    x, y, w, h = (table[name].to_numpy().astype(dtype) for name in "xywh")
    return np.column_stack([x, y, x + w, y + h])


def xywh_columns(boxes: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """A table's columns of boxes (N, 4) xyxy."""
    x0, y0, x1, y1 = boxes.T
    return {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}
