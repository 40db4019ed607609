"""A job's tables and record after corrections."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError
from reid.parquet import PARQUET_ERRORS
from serving.gallery import UNKNOWN
from serving.job.corrections.plan import Plan
from serving.job.layout import DETECTIONS, SIGHTINGS, is_stranger, key_of, stranger_number
from serving.job.people import tally

__all__ = ["correct_rows", "correct_strangers", "counts_of", "sightings_table", "write_detections"]

_SURE = 2.0  # as distances of embeddings of norm 1 go no further: what people decided is shown last


def correct_rows(rows: Sequence[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """The sightings after the corrections. What the model found of each stays, but for people's names."""
    found = []
    for row in rows:
        person = plan.now.get(key_of(row))
        if person is None:
            continue
        stranger = is_stranger(person)
        changed: dict[str, Any] = {
            "identity": UNKNOWN if stranger else person,
            "provisional": person if stranger else None,
        }
        for name in ("nearest", "runner_up"):
            changed[name] = None if row[name] is None else plan.current(row[name])
        if key_of(row) in plan.moved:
            changed["certainty"] = _SURE
        found.append(row | changed)
    return found


def correct_strangers(rows: Sequence[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """The sightings of unknown people, with their embeddings, after the corrections."""
    left = [(row, plan.now.get(key_of(row), "")) for row in rows]
    return [row | {"number": stranger_number(who)} for row, who in left if is_stranger(who)]


def write_detections(source: Path, path: Path, plan: Plan) -> Counter[str]:
    """Write the boxes after the corrections, and count them by camera; a little at a time, for a long job has
    millions.

    Raises:
        ReidError: the table is not that of a job.
    """
    counts: Counter[str] = Counter()
    try:
        with pq.ParquetFile(source) as file, pq.ParquetWriter(path, DETECTIONS) as writer:
            for batch in file.iter_batches(columns=DETECTIONS.names):
                table = _corrected(pa.Table.from_batches([batch]).select(DETECTIONS.names), plan)
                writer.write_table(table)
                counts.update(table["camera"].to_pylist())
    except PARQUET_ERRORS as error:
        raise ReidError(f"job output {source} is not what a job writes: run the job again") from error
    return counts


def _corrected(boxes: pa.Table, plan: Plan) -> pa.Table:
    """Some boxes under their present names, without those of sightings that are gone."""
    keys = zip(boxes["camera"].to_pylist(), boxes["tracklet"].to_pylist(), strict=True)
    names = [plan.now.get(key, "") for key in keys]
    said = pa.array([UNKNOWN if is_stranger(name) else name for name in names], pa.string())
    corrected = boxes.set_column(DETECTIONS.get_field_index("identity"), "identity", said)
    return corrected.filter(pa.array([bool(name) for name in names])).cast(DETECTIONS)


def counts_of(before: dict[str, Any], rows: Sequence[dict[str, Any]], boxes: Counter[str]) -> dict[str, Any]:
    """The record's counts: sightings, named, unknown and detections are counted again."""

    def of(camera: str | None) -> dict[str, int]:
        return tally([row for row in rows if camera in (None, row["camera"])])

    cameras = {name: one | of(name) for name, one in before.get("cameras", {}).items()}
    return before | of(None) | {"detections": boxes.total(), "cameras": cameras}


def sightings_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as the job writes them."""
    return pa.Table.from_pylist(list(rows), schema=SIGHTINGS)
