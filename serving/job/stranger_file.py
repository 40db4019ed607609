"""``strangers.parquet`` of a job's output: the unknown people with their embeddings, so that they can be
found again or be named.

Only its owner can read the file. It goes with the output folder: whoever deletes that deletes the strangers.
"""

import itertools
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError, UsageError
from reid.files import atomic_path, existing
from serving.gallery import check_private
from serving.job.encryption import opening, read_sealed, write_sealed
from serving.job.layout import JobFolder
from serving.job.sightings.strangers import SeenStrangers

__all__ = [
    "StrangerFile",
    "numbers_before",
    "read_earlier",
    "read_strangers",
    "series_of",
    "write_strangers",
]

_COLUMNS = {
    "camera": pa.string(),
    "tracklet": pa.int64(),
    "number": pa.int64(),
    "start": pa.float64(),  # seconds since 1970; null where the camera has no clock
    "end": pa.float64(),
    "quality": pa.float64(),
    "crop": pa.string(),
    "embedding": pa.list_(pa.float32()),
}


@dataclass(frozen=True, eq=False)
class StrangerFile:
    """The strangers of a job. ``series`` is shared by jobs that go on with each other's numbers."""

    folder: Path
    fingerprint: str
    series: str
    rows: tuple[dict[str, Any], ...]

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """(N, D)."""
        return np.asarray([row["embedding"] for row in self.rows], np.float32)


def write_strangers(
    path: Path, rows: Sequence[dict[str, object]], fingerprint: str, series: str | None
) -> None:
    """Write the strangers of a job, private; None begins a new series of numbers."""
    facts = {"fingerprint": fingerprint, "series": series or secrets.token_hex(8)}
    with atomic_path(path, mode=0o600) as temporary:
        write_sealed(pa.Table.from_pylist(list(rows), schema=pa.schema(_COLUMNS, metadata=facts)), temporary)


def read_strangers(folder: Path) -> StrangerFile:
    """The strangers of a finished job.

    Raises:
        UsageError: the folder does not exist or holds no job's output with strangers.
        ReidError: the file is damaged, or others may read it.
    """
    path = JobFolder(existing(folder, "job output")).strangers
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no {path.name}: name the output folder of a job, and run an old job again"
        )
    check_private(path, "file")
    schema = pa.schema(_COLUMNS)
    filled = [name for name in _COLUMNS if name not in ("start", "end")]
    table = read_sealed(
        path, "file", "run the job again", schema=schema, filled=filled, finite=("start", "end", "quality")
    )
    facts = table.schema.metadata or {}
    if not {b"fingerprint", b"series"} <= facts.keys():
        raise ReidError(f"{path} does not say which model it is of: run the job again")
    rows = tuple(table.to_pylist())
    if len({len(row["embedding"]) for row in rows}) > 1 or any(None in row["embedding"] for row in rows):
        raise ReidError(f"{path} holds embeddings of different length: run the job again")
    fingerprint, series = (facts[key].decode("utf-8", "replace") for key in (b"fingerprint", b"series"))
    return StrangerFile(folder, fingerprint, series, rows)


def series_of(folder: Path) -> str | None:
    """The series that a finished job's strangers are numbered in; None where it has no such file.

    Raises:
        ReidError: the file is damaged.
    """
    path = JobFolder(folder).strangers
    if not path.is_file():
        return None
    try:
        schema = pq.read_schema(path.absolute(), decryption_properties=opening(path, "file"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ReidError(
            f"file {path} is damaged, or encrypted with another key: run the job again"
        ) from error
    return str((schema.metadata or {}).get(b"series", b"").decode("utf-8", "replace")) or None


def read_earlier(folders: Sequence[str], fingerprint: str) -> tuple[SeenStrangers | None, str | None]:
    """The strangers of earlier jobs and their series; (None, None) where there is no earlier job.

    Raises:
        ReidError: a job used another model, or numbers its strangers apart from the others.
    """
    files = [read_strangers(Path(folder)) for folder in folders]
    for file in files:
        if file.fingerprint != fingerprint:
            raise ReidError(
                f"the strangers of {file.folder} are of model {file.fingerprint}, not of "
                f"{fingerprint}: run that job again"
            )
        if file.series != files[0].series:
            apart = f"{files[0].folder} and {file.folder} number their strangers apart"
            raise ReidError(
                f"{apart}: name one of them, or run the later one again with the other as its earlier job"
            )
    rows = [row for file in files for row in file.rows]
    if not files:
        return None, None
    spans = np.asarray([(row["start"], row["end"]) for row in rows], np.float64).reshape(-1, 2)
    embeddings = np.asarray([row["embedding"] for row in rows], np.float32)
    seen = SeenStrangers(
        embeddings, tuple(row["camera"] for row in rows), spans, tuple(row["number"] for row in rows)
    )
    return seen, files[0].series


def numbers_before(
    folder: Path, numbers: Sequence[int | None], embeddings: npt.NDArray[np.float32]
) -> tuple[list[int | None], str | None]:
    """The numbers that strangers had in an earlier output of the same footage, and its series.

    Who was promoted meanwhile leaves a gap: the others are not renumbered while somebody goes through the
    report. Sightings are known by their embeddings, which are the same bytes.

    Args:
        folder: the earlier output; what cannot be read there is passed over.
        numbers: of this run, a sighting each; None for a person who is named.
        embeddings: (N, D), a sighting each.
    """
    try:
        old = read_strangers(folder)
    except ReidError:
        return list(numbers), None
    had = {row.tobytes(): int(one["number"]) for row, one in zip(old.embeddings, old.rows, strict=True)}
    votes: dict[int, Counter[int]] = {}
    for number, row in zip(numbers, np.ascontiguousarray(embeddings, np.float32), strict=True):
        if number is not None:
            votes.setdefault(number, Counter()).update([had[row.tobytes()]] if row.tobytes() in had else [])
    new: dict[int, int] = {}
    for number, counts in votes.items():
        free = [one for one, _ in counts.most_common() if one not in new.values()]
        if free:
            new[number] = free[0]
    following = itertools.count(max(had.values(), default=0) + 1)
    for number in [one for one in votes if one not in new]:
        new[number] = next(following)
    return [None if number is None else new[number] for number in numbers], old.series
