"""The catalog: a Parquet table with one row per image. Torch-free.

Columns: ``path`` (relative to the catalog's folder, or absolute), ``identity`` and ``camera`` (strings, as
the data set writes them), ``split`` (train, val, query, gallery), ``width``, ``height`` (pixels, as stored),
``sha256`` (of the file). Data sets with video add ``frame`` and ``tracklet``; sets with continuous labels add
``label_vector`` (list of float), rendered people ``pose`` as well. Where a file's name is not UTF-8, ``path``
shows it in the form of :func:`readable` and the column ``path_bytes`` (binary, null for all others) holds it.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError
from reid.files import atomic_path
from reid.parquet import read_parquet

__all__ = [
    "DISTRACTOR",
    "JUNK",
    "SPLITS",
    "Catalog",
    "Record",
    "hash_of",
    "natural_order",
    "read_catalog",
    "readable",
    "write_catalog",
]

JUNK, DISTRACTOR = "-1", "0000"
"""Identities that are no person, in whatever set, by Market-1501's convention: boxes to be left out, and
unknown people of the gallery.
"""
SPLITS = ("train", "val", "query", "gallery")
_COLUMNS = ("path", "identity", "camera", "split", "width", "height", "sha256")


def readable(path: Path | str) -> str:
    """A path or name as text that any file and screen takes: bytes that are not UTF-8 become ``\\xe9`` and
    the like.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def natural_order(paths: Sequence[Path]) -> npt.NDArray[np.int64]:
    """Places (N,) of paths when they are sorted with numbers by their values: 2 before 10."""
    keys = [
        [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", readable(path))]
        for path in paths
    ]
    places = np.empty(len(paths), np.int64)
    places[sorted(range(len(paths)), key=keys.__getitem__)] = np.arange(len(paths))
    return places


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
    pose: tuple[float, ...] | None = None


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
        stored = self.table["path"].to_pylist()
        if "path_bytes" in self.table.column_names:
            exact = self.table["path_bytes"].to_pylist()
            stored = [
                shown if raw is None else os.fsdecode(raw) for shown, raw in zip(stored, exact, strict=True)
            ]
        return [Path(os.path.normpath(self.folder / path)) for path in stored]

    @property
    def identities(self) -> npt.NDArray[np.str_]:
        """One identity a row."""
        return self.column("identity")

    @property
    def cameras(self) -> npt.NDArray[np.str_]:
        """One camera a row."""
        return self.column("camera")

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Numbers (N,) that rise with time within a camera: frames where every row has one, else places in
        the order of the names.
        """
        frames = self.table["frame"].to_pylist() if "frame" in self.table.column_names else [None]
        return natural_order(self.paths) if None in frames else np.asarray(frames, np.int64)

    def vectors(self, name: str) -> npt.NDArray[np.float64]:
        """Continuous labels (N, V) from the column ``name`` of lists of numbers.

        Raises:
            ReidError: there is no such column, or a row lacks its vector, has one of another length, or one
                that is not finite; the message names the image.
        """
        if name not in self.table.column_names:
            kinds = [field.name for field in self.table.schema if pa.types.is_list(field.type)]
            others = f"it has {', '.join(kinds)}" if kinds else "give images label_* columns in a table"
            raise ReidError(f"the catalog has no label vectors in a column {name!r}: {others}")
        found = self.table[name].to_pylist()
        width = next((len(vector) for vector in found if vector), 0)
        for row, vector in enumerate(found):
            if not vector or len(vector) != width or not np.isfinite(np.asarray(vector, np.float64)).all():
                raise ReidError(
                    f"image {self.table['path'][row]} of the catalog has no {name} of {width} finite "
                    "numbers: label it, or leave it out"
                )
        return np.asarray(found, np.float64).reshape(len(found), width)

    def labels(self) -> npt.NDArray[np.int64]:
        """Identities as 0..C-1 in sorted order of their names."""
        return np.unique(self.identities, return_inverse=True)[1].astype(np.int64)

    @property
    def data_hash(self) -> str:
        """A hash of what was read: identities, cameras, splits and the content of every image."""
        return hash_of(
            zip(*(self.column(name) for name in ("sha256", "identity", "camera", "split")), strict=True)
        )

    def __len__(self) -> int:
        return int(self.table.num_rows)


def hash_of(rows: Iterable[tuple[object, ...]]) -> str:
    """A hash of facts about pictures, a row each, whatever their order."""
    digest = hashlib.sha256()
    for row in sorted(tuple(map(str, row)) for row in rows):
        digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()


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
            raise ReidError(
                f"image {row['path']}: split is {row['split']!r}, want one of {', '.join(SPLITS)}"
            )
    storable = [_storable(row) for row in ordered]
    # By itself Arrow takes the columns from the first row alone.
    columns = dict.fromkeys(key for row in storable for key in row)
    table = pa.Table.from_pylist([{key: row.get(key) for key in columns} for row in storable])
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _storable(row: dict[str, object]) -> dict[str, object]:
    """The row as Parquet takes it, whose text is UTF-8."""
    path = str(row["path"])
    shown = readable(path)
    return row if shown == path else row | {"path": shown, "path_bytes": os.fsencode(path)}


def read_catalog(path: Path | str) -> Catalog:
    """Read a catalog.

    Raises:
        UsageError: the file does not exist.
        ReidError: it is not Parquet, or a column is missing.
    """
    path = Path(path)
    texts = {name: pa.string() for name in _COLUMNS[:4]} | {"sha256": pa.string()}
    table = read_parquet(
        path,
        "catalog",
        "run the prepare stage again",
        broken="is not a Parquet file",
        columns=_COLUMNS,
        filled=_COLUMNS,
    )
    wrong = [
        name for name, kind in texts.items() if table.schema.field(name).type not in (kind, pa.large_string())
    ]
    if wrong:
        raise ReidError(
            f"catalog {path} holds no text in the column {wrong[0]!r}: run the prepare stage again"
        )
    return Catalog(table, path.parent.resolve())
