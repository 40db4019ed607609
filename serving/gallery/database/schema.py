"""The gallery's tables, and how its file is made."""

import os
import tempfile
import time as clock
from contextlib import closing, suppress
from pathlib import Path

from reid.errors import ReidError
from reid.system_errors import os_problem
from serving.gallery.database.connect import APPLICATION_ID, FORMAT, PAGE_SIZE, database_errors, driver

__all__ = ["create_database"]

# A reference embedded by two models has a row for each; `twin` of one of them is the other's id.
# The search index lies in the file too: what is encrypted, copied or erased there is so as a whole.
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    dim INTEGER CHECK (dim > 0),
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    added_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_active_model ON models (active) WHERE active = 1;
CREATE TABLE people (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    enrolled_at REAL NOT NULL
) STRICT;
CREATE TABLE refs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    model_id INTEGER NOT NULL REFERENCES models (id),
    twin INTEGER REFERENCES refs (id) ON DELETE SET NULL,
    taken_at REAL NOT NULL,
    enrolled_at REAL NOT NULL,
    quality REAL NOT NULL,
    source TEXT NOT NULL,
    camera TEXT NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    embedding BLOB NOT NULL
) STRICT;
CREATE INDEX refs_of_person ON refs (person_id);
CREATE INDEX refs_by_age ON refs (taken_at);
CREATE INDEX refs_of_model ON refs (model_id);
CREATE UNIQUE INDEX refs_by_twin ON refs (twin) WHERE twin IS NOT NULL;
CREATE TABLE search_index (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    kind TEXT NOT NULL,
    model_id INTEGER NOT NULL REFERENCES models (id),
    last_id INTEGER NOT NULL,
    refs INTEGER NOT NULL,
    recall REAL NOT NULL,
    built_at REAL NOT NULL
) STRICT;
CREATE TABLE search_index_parts (part INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    identity TEXT NOT NULL,
    detail TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_keeps_values BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
INSERT INTO meta VALUES ('version', 0), ('rewritten', 0), ('purge_pending', 0), ('retain_days', NULL);
"""


def create_database(path: Path, fingerprint: str, dim: int | None, key: bytes | None = None) -> None:
    """Make an empty gallery for a model, with mode 0600, whole or not at all; an existing file is left as it
    is.

    With a ``key`` of 32 bytes the file is encrypted.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:60]}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise ReidError(f"gallery {os_problem(error, path)}") from error
    temporary = Path(name)
    try:
        with database_errors(path), closing(driver(key).connect(temporary, isolation_level=None)) as db:
            if key is not None:
                db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
                db.execute(f"PRAGMA cipher_page_size = {PAGE_SIZE}")
            db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {_TABLES}"
            )
            row = (fingerprint, dim, clock.time())
            db.execute("INSERT INTO models (fingerprint, dim, active, added_at) VALUES (?, ?, 1, ?)", row)
            db.execute("COMMIT")
        os.fsync(handle)
        # Unlike a rename, a link never replaces: where another process was faster, its gallery stays.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)
