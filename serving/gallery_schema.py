"""The gallery's database: tables, how a file is made and opened, and what SQLite's errors mean to a person."""

import os
import sqlite3
import stat
import tempfile
import time as clock
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from reid.errors import ReidError, UsageError

__all__ = ["FORMAT", "connect", "create_database", "database_errors", "private_path"]

FORMAT = 1
_APPLICATION_ID = 0x52654944  # "ReID" in the file's header: tells a gallery from any other SQLite file
_BUSY_TIMEOUT_MS = 5000

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
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    identity TEXT NOT NULL,
    detail TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_keeps_values BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
INSERT INTO meta VALUES ('version', 0), ('rewritten', 0), ('purge_pending', 0), ('retain_days', NULL);
"""


@contextmanager
def private_path(path: Path) -> Iterator[Path]:
    """Like :func:`reid.files.atomic_path`, but nobody other than the owner can read the file, at no moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    temporary = Path(name)
    try:
        yield temporary
        os.fsync(handle)
        os.replace(temporary, path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def create_database(path: Path, fingerprint: str, dim: int | None) -> None:
    """Make an empty gallery for a model, with mode 0600, whole or not at all; an existing file is left as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    temporary = Path(name)
    try:
        with database_errors(path), closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            # Rows are about 2 KiB: pages of 16 KiB waste little and are read fast.
            db.execute("PRAGMA page_size = 16384")
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN; PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {_TABLES}")
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


def connect(path: Path) -> sqlite3.Connection:
    """Open a gallery's database; transactions are begun and ended by hand.

    Raises:
        UsageError: there is no file.
        ReidError: others may read the file, it is no gallery, damaged, or of another format.
    """
    if not path.exists():
        raise UsageError(f"gallery {path} does not exist: check the path, or make it with `reid gallery enroll`")
    if not path.is_file():
        raise UsageError(f"gallery {path} is not a file: name the gallery's database file")
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0
        if mode & 0o077:
            raise ReidError(f"gallery {file} holds biometric data and others may read it (mode {mode:04o}): run chmod 600 {file}")
    with database_errors(path):
        db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_MS / 1000, check_same_thread=False)
        try:
            if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                raise ReidError(f"{path} is a SQLite database but not a gallery: check the path")
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found != FORMAT:
                raise ReidError(
                    f"gallery {path} has format {found}, this program reads {FORMAT}: use the version of it that made the gallery"
                )
            # FULL: what enroll has acknowledged survives a power cut. MEMORY: no embedding gets into temporary files.
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "temp_store = MEMORY"):
                db.execute(f"PRAGMA {pragma}")
            db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Say SQLite's errors in one line that names the gallery and the way out."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        reasons = {
            "locked": "is being written by another process: wait for it to finish and try again",
            "not a database": "is not a gallery, or is damaged: check the path or restore a copy",
            "malformed": "is damaged: restore a copy",
            "no such table": "is damaged: restore a copy",
            "full": "cannot grow, the disk is full: free some space; nothing was changed",
            "readonly": "cannot be written: check the permissions of the file and its folder",
            "unable to open": "cannot be opened: check the permissions of the file and its folder",
        }
        reason = next((reason for key, reason in reasons.items() if key in text), f"fails ({text}): run `reid gallery verify {path}`")
        raise ReidError(f"gallery {path} {reason}") from error
