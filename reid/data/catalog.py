"""The catalog: a Parquet table with one row per image. Torch-free.

Columns: ``path`` (relative to the catalog's folder, or absolute), ``identity`` and ``camera`` (strings, as the data set writes
them), ``split`` (train, val, query, gallery), ``width``, ``height`` (pixels, as stored), ``sha256`` (of the file).
Data sets with video add ``frame`` and ``tracklet``; sets with continuous labels add ``label_vector`` (list of float).
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError
from reid.files import atomic_path
from reid.parquet import read_parquet

__all__ = ["SPLITS", "Catalog", "Record", "read_catalog", "write_catalog"]

SPLITS = ("train", "val", "query", "gallery")
_COLUMNS = ("path", "identity", "camera", "split", "width", "height", "sha256")


@dataclass(frozen=True, slots=True)
class Record:
    """What a reader knows of an image before it is opened."""

    path: Path
    identity: str
    camera: str
    split: str
    frame: int | None = None
    tracklet: str | None = None
    label_vector: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Catalog:
    """A read catalog. ``table`` has the columns above; ``paths`` are absolute."""

    table: pa.Table
    folder: Path

    def split(self, *names: str) -> "Catalog":
        """The rows of the named splits, in the catalog's order."""
        return self.where(np.isin(self.column("split"), names))

    def where(self, mask: npt.NDArray[np.bool_]) -> "Catalog":
        """The rows where ``mask`` (N,) holds."""
        return Catalog(self.table.filter(pa.array(mask)), self.folder)

    def column(self, name: str) -> npt.NDArray[np.str_]:
        """A column as a NumPy array of strings."""
        return np.asarray(self.table[name].to_pylist(), dtype=np.str_)

    @property
    def paths(self) -> list[Path]:
        """Where the images lie."""
        return [Path(os.path.normpath(self.folder / p)) for p in self.table["path"].to_pylist()]

    @property
    def identities(self) -> npt.NDArray[np.str_]:
        """One identity a row."""
        return self.column("identity")

    @property
    def cameras(self) -> npt.NDArray[np.str_]:
        """One camera a row."""
        return self.column("camera")

    def labels(self) -> npt.NDArray[np.int64]:
        """Identities as 0..C-1 in sorted order of their names."""
        return np.unique(self.identities, return_inverse=True)[1].astype(np.int64)

    @property
    def data_hash(self) -> str:
        """A hash of what was read: identities, cameras, splits and the content of every image."""
        digest = hashlib.sha256()
        rows = zip(*(self.column(name) for name in ("sha256", "identity", "camera", "split")), strict=True)
        for row in sorted(tuple(map(str, row)) for row in rows):
            digest.update("\0".join(row).encode() + b"\n")
        return digest.hexdigest()

    def __len__(self) -> int:
        return int(self.table.num_rows)


def write_catalog(rows: Iterable[dict[str, object]], path: Path | str) -> None:
    """Write catalog rows to Parquet, whole or not at all; rows are sorted by split and path.

    Raises:
        ReidError: there is no row, or a split is not one of train, val, query, gallery.
    """
    ordered = sorted(rows, key=lambda row: (str(row["split"]), str(row["path"])))
    if not ordered:
        raise ReidError(f"no image is left for the catalog {path}: check the data folder and its pattern")
    for row in ordered:
        if row["split"] not in SPLITS:
            raise ReidError(f"image {row['path']}: split is {row['split']!r}, want one of {', '.join(SPLITS)}")
    table = pa.Table.from_pylist(ordered)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_catalog(path: Path | str) -> Catalog:
    """Read a catalog.

    Raises:
        UsageError: the file does not exist.
        ReidError: it is not Parquet, or a column is missing.
    """
    path = Path(path)
    texts = {name: pa.string() for name in _COLUMNS[:4]} | {"sha256": pa.string()}
    table = read_parquet(path, "catalog", "run the prepare stage again", broken="is not a Parquet file", columns=_COLUMNS, filled=_COLUMNS)
    wrong = [name for name, kind in texts.items() if table.schema.field(name).type not in (kind, pa.large_string())]
    if wrong:
        raise ReidError(f"catalog {path} holds no text in the column {wrong[0]!r}: run the prepare stage again")
    return Catalog(table, path.parent.resolve())
