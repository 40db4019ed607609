"""Galleries on the move: references to Parquet and back, and a copy that is encrypted."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError, UsageError
from reid.files import atomic_path
from reid.parquet import read_parquet, refuse_other
from reid.system_errors import shown
from serving.gallery.checks import MOST_DAYS
from serving.gallery.database import queries
from serving.gallery.database.connect import PAGE_SIZE, connect, database_errors, driver
from serving.gallery.database.references import NewReferences

if TYPE_CHECKING:
    from serving.gallery.gallery import Gallery

__all__ = ["encrypt_gallery", "export_references", "import_references", "read_export"]

_TEXTS = ("identity", "source", "camera")
_NUMBERS = ("taken_at", "quality", "enrolled_at")
_EXPORT = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.float64()) for name in _NUMBERS),
        ("embedding", pa.list_(pa.float32())),
    ]
)


def export_references(gallery: "Gallery", path: Path) -> int:
    """Write every reference to a Parquet file, with model, version and retention in the table's metadata;
    how many there are.
    """
    refuse_other(path, "output")
    table = _references(gallery)
    with atomic_path(path, mode=0o600) as temporary:
        with gallery.store.writing() as change:
            # Said before it is done: a copy without an entry would be worse than an entry without a copy.
            change.raises_version = False
            change.log("export", "", path.name)
        pq.write_table(table, temporary)
    return int(table.num_rows)


def _references(gallery: "Gallery") -> pa.Table:
    with gallery.store.reading() as db:
        rows = db.execute(
            "SELECT p.name, r.source, r.camera, r.taken_at, r.quality, r.enrolled_at, r.embedding, "
            "r.id FROM refs r "
            "JOIN people p ON p.id = r.person_id JOIN models m ON m.id = r.model_id AND m.active = 1 "
            "ORDER BY p.name, r.id"
        ).fetchall()
        fingerprint, dim = db.execute("SELECT fingerprint, dim FROM models WHERE active = 1").fetchone()
        facts = {"fingerprint": fingerprint}
        facts |= {
            key: str(value)
            for key in ("version", "retain_days")
            if (value := gallery.store.meta(db, key)) is not None
        }
        names = (*_EXPORT.names, "id")
        values = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
        embeddings = queries.rows_of(values["id"], values["embedding"], dim or 0)
    columns = {
        field.name: pa.array(values[field.name], field.type) for field in _EXPORT if field.name != "embedding"
    }
    return pa.table(
        columns | {"embedding": pa.array(list(embeddings), pa.list_(pa.float32()))},
        schema=_EXPORT.with_metadata(facts),
    )


def read_export(path: Path) -> pa.Table:
    """What :func:`export_references` wrote.

    Raises:
        UsageError: the file does not exist.
        ReidError: it is no Parquet file, or not one that a gallery wrote.
    """
    way_out = "write it with `reid gallery export`"
    broken = "cannot be read as Parquet"
    filled = (*_TEXTS, "embedding")
    table = read_parquet(
        path, "export", way_out, broken=broken, schema=_EXPORT, filled=filled, finite=_NUMBERS
    )
    if b"fingerprint" not in (table.schema.metadata or {}):
        raise ReidError(
            f"{path} is not an export of a gallery, it lacks the model's fingerprint: write it with "
            "`reid gallery export`"
        )
    return table


def import_references(gallery: "Gallery", path: Path) -> tuple[int, int]:
    """Enroll everything that an export holds, in one change; what is there already (person and embedding) is
    left out.

    Args:
        gallery: opened with the model that made the export; made now if it was not there, with the export's
            retention.
        path: of the export.

    Returns:
        How many references were added, and how many were there already.

    Raises:
        ReidError: the export is of another model, is damaged, or holds a wrong value; nothing is changed
            then.
    """
    table = read_export(path)
    made_by = table.schema.metadata[b"fingerprint"].decode("utf-8", "replace")
    new_gallery = not gallery.path.exists()
    if not new_gallery and gallery.fingerprint != made_by:
        way_out = "import it into a gallery of that model, and embed it anew there"
        raise ReidError(
            f"export {path} is of model {made_by}, gallery {gallery.path} of {gallery.fingerprint}: {way_out}"
        )
    if not table.num_rows:
        raise ReidError(f"export {path} is empty: there is nothing to import")
    try:
        embeddings = np.asarray(table["embedding"].to_pylist(), np.float32)
    except ValueError as error:
        raise ReidError(f"export {path} holds embeddings of different length: write it again") from error
    values = {name: table[name].to_pylist() for name in (*_TEXTS, *_NUMBERS)}
    new = NewReferences.checked(
        values["identity"],
        embeddings,
        None,
        values["source"],
        values["camera"],
        values["taken_at"],
        values["quality"],
    )
    gallery.ensure_exists(made_by, embeddings.shape[1])
    with gallery.store.writing() as change:
        there = set(
            change.db.execute("SELECT p.name, r.sha256 FROM refs r JOIN people p ON p.id = r.person_id")
        )
        fresh = new.without(there)
        days = table.schema.metadata.get(b"retain_days", b"").decode("utf-8", "replace")
        if new_gallery and days:
            if not days.isdecimal() or not 1 <= int(days[:9]) <= MOST_DAYS:
                raise ReidError(
                    f"export {path} wants references kept {shown(days)!r} days: write it with `reid "
                    "gallery export`"
                )
            change.db.execute("UPDATE meta SET value = ? WHERE key = 'retain_days'", (int(days),))
            change.log("retention", "", f"{int(days)} days")
        if fresh.rows:
            fresh.insert(change, action="import")
    return len(fresh.rows), len(new.rows) - len(fresh.rows)


def encrypt_gallery(path: Path, out: Path, key: bytes) -> None:
    """Write an encrypted copy of a plain gallery; the plain file stays and is the caller's to delete.

    Raises:
        UsageError: ``out`` exists, or SQLCipher is not installed.
        ReidError: ``path`` is no plain gallery.
    """
    if out.exists():
        raise UsageError(f"{out} exists: name a new file")
    cipher = driver(key)
    connect(path).close()  # refuses what is no plain gallery
    with (
        atomic_path(out, mode=0o600) as temporary,
        database_errors(path),
        closing(cipher.connect(path, isolation_level=None)) as db,
    ):
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"ATTACH DATABASE ? AS copy KEY \"x'{key.hex()}'\"", (str(temporary),))
        db.execute(f"PRAGMA copy.cipher_page_size = {PAGE_SIZE}")
        db.execute("SELECT sqlcipher_export('copy')").fetchone()
        for pragma in ("application_id", "user_version"):
            db.execute(f"PRAGMA copy.{pragma} = {int(db.execute(f'PRAGMA main.{pragma}').fetchone()[0])}")
        db.execute("DETACH DATABASE copy")
