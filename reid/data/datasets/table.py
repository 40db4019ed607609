"""Any CSV or Parquet table with one row an image: ``path, identity`` and, where known, ``camera, split,
frame, tracklet, label_*``.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from reid.data.catalog import SPLITS, Record
from reid.errors import ReidError, UsageError
from reid.files import existing

__all__ = ["read_table"]

_OPTIONAL = ("camera", "split", "frame", "tracklet")


def read_table(path: Path) -> list[Record]:
    """One record a row, in the table's order.

    Paths are relative to the table's folder, or absolute. Identities and cameras stay text as written, so
    that 0007 is not 7. Without a column ``split`` every row gets the split ``train``; people are split later.
    Columns ``label_*`` hold numbers, the image's label vector.

    Raises:
        UsageError: the file does not exist or is neither CSV nor Parquet, or a column is missing or unknown.
        ReidError: the file cannot be parsed, or a value is missing or wrong; the message names the row.
    """
    table = _load(existing(path, "table"))
    labels = sorted(name for name in table.column_names if name.startswith("label_"))
    known = {"path", "identity", *_OPTIONAL, *labels}
    for name in ("path", "identity"):
        if name not in table.column_names:
            raise UsageError(
                f"table {path} lacks the column {name!r}: it has {', '.join(table.column_names)}"
            )
    unknown = [name for name in table.column_names if name not in known]
    if unknown:
        raise UsageError(
            f"table {path} has the unknown column {unknown[0]!r}: rename or remove it; known are "
            f"{', '.join(sorted(known))}"
        )
    return [_record(path, number, row, labels) for number, row in enumerate(_rows(table), 1)]


def _load(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
        if path.suffix.lower() == ".csv":
            header = path.open(encoding="utf-8").readline().strip().split(",")
            as_text = csv.ConvertOptions(column_types={name.strip('"'): pa.string() for name in header})
            return csv.read_csv(path, convert_options=as_text)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ReidError(f"table {path} cannot be read ({reason}): correct the file") from error
    raise UsageError(f"table {path} ends in {path.suffix!r}: want .csv or .parquet")


def _rows(table: pa.Table) -> Iterable[dict[str, Any]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _record(path: Path, number: int, row: dict[str, Any], labels: list[str]) -> Record:
    where = f"table {path} row {number}"
    for name in ("path", "identity"):
        if row[name] is None or str(row[name]) == "":
            raise ReidError(f"{where}: {name} is empty: fill it in or remove the row")
    split = row.get("split") or "train"
    if split not in SPLITS:
        raise ReidError(f"{where}: split is {split!r}, want one of {', '.join(SPLITS)}")
    try:
        frame = None if row.get("frame") in (None, "") else int(row["frame"])
        vector = tuple(float(row[name]) for name in labels) or None
    except (TypeError, ValueError) as error:
        raise ReidError(f"{where}: frame and label_* hold numbers ({error}): correct the row") from error
    image = path.parent / str(row["path"])
    tracklet = row.get("tracklet") or None
    return Record(image, str(row["identity"]), str(row.get("camera") or "1"), split, frame, tracklet, vector)
