"""How a gallery's file is opened, plain or encrypted, and what SQLite's errors mean to a person."""

import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from reid.errors import ReidError, UsageError

__all__ = ["APPLICATION_ID", "FORMAT", "PAGE_SIZE", "check_private", "connect", "database_errors", "driver"]

FORMAT = 2
APPLICATION_ID = 0x52654944  # "ReID" in the file's header: tells a gallery from any other SQLite file
PAGE_SIZE = 16384  # rows are about 2 KiB: large pages waste little and are read fast
_BUSY_TIMEOUT_MS = 5000
_PLAIN = b"SQLite format 3\0"
_CIPHER = "sqlcipher3.dbapi2"


def driver(key: bytes | None) -> Any:
    """The module to open a gallery with: Python's own, or SQLCipher's where there is a key.

    Raises:
        UsageError: SQLCipher is not installed.
    """
    if key is None:
        return sqlite3
    try:
        return import_module(_CIPHER)
    except ImportError as error:
        raise UsageError("an encrypted gallery needs the package sqlcipher3: install it with `pip install sqlcipher3`") from error


def check_private(file: Path, what: str) -> None:
    """Refuse a file that others than its owner may read; ``what`` names it in the message.

    Raises:
        ReidError: they may.
    """
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0
    if mode & 0o077:
        raise ReidError(f"{what} {file} must be private and others may read it (mode {mode:04o}): run chmod 600 {file}")


def connect(path: Path, key: bytes | None = None) -> sqlite3.Connection:
    """Open a gallery's database; transactions are begun and ended by hand.

    Raises:
        UsageError: there is no file, or SQLCipher is not installed.
        ReidError: others may read the file, it is no gallery, damaged, of another format, or not encrypted with this key.
    """
    if not path.exists():
        raise UsageError(f"gallery {path} does not exist: check the path, or make it with `reid gallery enroll`")
    if not path.is_file():
        raise UsageError(f"gallery {path} is not a file: name the gallery's database file")
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        check_private(file, "gallery")
    _check_key(path, key)
    with database_errors(path):
        timeout_s = _BUSY_TIMEOUT_MS / 1000
        db: sqlite3.Connection = driver(key).connect(path, isolation_level=None, timeout=timeout_s, check_same_thread=False)
        try:
            if key is not None:
                db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
                db.execute(f"PRAGMA cipher_page_size = {PAGE_SIZE}")
            _check_content(path, db)
        except BaseException:
            db.close()
            raise
    return db


def _check_key(path: Path, key: bytes | None) -> None:
    with open(path, "rb") as file:
        header = file.read(len(_PLAIN))
    if key is not None and header == _PLAIN:
        way_out = f"run `reid gallery encrypt {path} NEW`, or open it without the key"
        raise ReidError(f"gallery {path} is not encrypted although a key is given: {way_out}")
    if key is None and header != _PLAIN:
        raise ReidError(
            f"{path} is not a gallery, or is damaged or encrypted: check the path, restore a copy, or set REID_GALLERY_KEY_FILE"
        )


def _check_content(path: Path, db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ReidError(f"{path} is a SQLite database but not a gallery: check the path")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found != FORMAT:
        raise ReidError(f"gallery {path} has format {found}, this program reads {FORMAT}: use the version of it that made the gallery")
    # FULL: what enroll has acknowledged survives a power cut. MEMORY: no embedding gets into temporary files.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "temp_store = MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()


def _is_database_error(error: Exception) -> bool:
    cipher = sys.modules.get(_CIPHER)
    return isinstance(error, sqlite3.DatabaseError) or (cipher is not None and isinstance(error, cipher.DatabaseError))


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Say SQLite's errors in one line that names the gallery and the way out."""
    try:
        yield
    except Exception as error:
        if not _is_database_error(error):
            raise
        text = str(error)
        reasons = {
            "locked": "is being written by another process: wait for it to finish and try again",
            "not a database": "is not a gallery, is damaged, or has another key: check path and key, or restore a copy",
            "malformed": "is damaged: restore a copy",
            "no such table": "is damaged: restore a copy",
            "full": "cannot grow, the disk is full: free some space; nothing was changed",
            "readonly": "cannot be written: check the permissions of the file and its folder",
            "unable to open": "cannot be opened: check the permissions of the file and its folder",
        }
        reason = next((reason for key, reason in reasons.items() if key in text), f"fails ({text}): run `reid gallery verify {path}`")
        raise ReidError(f"gallery {path} {reason}") from error
