"""How a gallery's file is opened, plain or encrypted, and what SQLite's errors mean to a person."""

import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from reid.errors import ReidError, UsageError
from reid.files import is_there
from reid.system_errors import os_problem

__all__ = [
    "APPLICATION_ID",
    "BUSY_TIMEOUT_S",
    "FORMAT",
    "PAGE_SIZE",
    "DamagedError",
    "check_private",
    "connect",
    "database_errors",
    "driver",
]

FORMAT = 2
APPLICATION_ID = 0x52654944  # "ReID" in the file's header: tells a gallery from any other SQLite file
PAGE_SIZE = 16384  # rows are about 2 KiB: large pages waste little and are read fast
BUSY_TIMEOUT_S = 5.0
_PLAIN = b"SQLite format 3\0"
_CIPHER = "sqlcipher3.dbapi2"
_ALL_TABLES = {"meta", "models", "people", "refs", "audit", "search_index", "search_index_parts"}
_META = ("version", "rewritten", "purge_pending", "retain_days")


class DamagedError(sqlite3.DatabaseError):
    """What SQLite takes for sound and no gallery holds; the text says what."""


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
        raise UsageError(
            "an encrypted gallery needs the package sqlcipher3: install it with `pip install sqlcipher3`"
        ) from error


def check_private(file: Path, what: str) -> None:
    """Refuse a file that others than its owner may read; ``what`` names it in the message.

    Raises:
        ReidError: they may.
    """
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0
    if mode & 0o077:
        raise ReidError(
            f"{what} {file} must be private and others may read it (mode {mode:04o}): run chmod 600 {file}"
        )


def connect(
    path: Path,
    key: bytes | None = None,
    *,
    read_only: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> sqlite3.Connection:
    """Open a gallery's database; transactions are begun and ended by hand.

    ``read_only``: nothing in the file is changed. So is a file opened that cannot be written, or whose folder
    cannot. ``busy_timeout_s``: how long to wait for another process that writes.

    Raises:
        UsageError: there is no file, or SQLCipher is not installed.
        ReidError: others may read the file, it is no gallery, damaged, of another format, or not encrypted
            with this key.
    """
    if not is_there(path, "gallery"):
        raise UsageError(
            f"gallery {path} does not exist: check the path, or make it with `reid gallery enroll`"
        )
    if not path.is_file():
        raise UsageError(f"gallery {path} is not a file: name the gallery's database file")
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        check_private(file, "gallery")
    _check_key(path, key)
    with database_errors(path):
        options = {"isolation_level": None, "timeout": busy_timeout_s, "check_same_thread": False}
        db: sqlite3.Connection = driver(key).connect(_address(path), uri=True, **options)
        try:
            if key is not None:
                db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
                db.execute(f"PRAGMA cipher_page_size = {PAGE_SIZE}")
            _check_content(path, db, read_only or not _can_be_written(path))
        except BaseException:
            db.close()
            raise
    return db


def _can_be_written(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _address(path: Path) -> str:
    """SQLite's name for the file. Where it cannot keep its log beside it, it is told that nobody writes:
    nobody has the log open.
    """
    address = path.resolve().as_uri()
    if _can_be_written(path):
        return f"{address}?mode=rw"
    log = path.with_name(f"{path.name}-wal")
    return f"{address}?mode=ro" if log.exists() and log.stat().st_size else f"{address}?mode=ro&immutable=1"


def _check_key(path: Path, key: bytes | None) -> None:
    try:
        with open(path, "rb") as file:
            header = file.read(len(_PLAIN))
    except OSError as error:
        raise ReidError(f"gallery {os_problem(error, path)}") from error
    if key is not None and header == _PLAIN:
        way_out = f"run `reid gallery encrypt {path} NEW`, or open it without the key"
        raise ReidError(f"gallery {path} is not encrypted although a key is given: {way_out}")
    if key is None and header != _PLAIN:
        raise ReidError(
            f"{path} is not a gallery, or is damaged or encrypted: check the path, restore a copy, or "
            "set REID_GALLERY_KEY_FILE"
        )


def _check_content(path: Path, db: sqlite3.Connection, read_only: bool) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ReidError(f"{path} is a SQLite database but not a gallery: check the path")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found != FORMAT:
        raise ReidError(
            f"gallery {path} has format {found}, this program reads {FORMAT}: use the version of it "
            "that made the gallery"
        )
    # FULL: what enroll has acknowledged survives a power cut. MEMORY: no embedding gets into temporary files.
    for pragma in (
        "query_only = ON" if read_only else "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
        "temp_store = MEMORY",
    ):
        db.execute(f"PRAGMA {pragma}")
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables >= _ALL_TABLES:
        raise DamagedError(f"it lacks the table {min(_ALL_TABLES - tables)!r}")
    facts = dict(db.execute("SELECT key, value FROM meta"))
    missing = [key for key in _META if key not in facts or (facts[key] is None and key != "retain_days")]
    if missing:
        raise DamagedError(f"its table meta lacks {missing[0]!r}")
    if any(facts[key] is not None and not 0 <= facts[key] < 2**62 for key in _META):
        raise DamagedError("its table meta holds numbers that are out of range")
    if db.execute("SELECT count(*) FROM models WHERE active = 1").fetchone()[0] != 1:
        raise DamagedError("it does not say which model its embeddings are of")


def _is_database_error(error: Exception) -> bool:
    cipher = sys.modules.get(_CIPHER)
    return isinstance(error, sqlite3.DatabaseError) or (
        cipher is not None and isinstance(error, cipher.DatabaseError)
    )


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Say SQLite's errors in one line that names the gallery and the way out."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UnicodeDecodeError | OverflowError):
            fault = (
                "text that is not UTF-8"
                if isinstance(error, UnicodeDecodeError)
                else "a number that is out of range"
            )
            raise ReidError(f"gallery {path} is damaged, it holds {fault}: restore a copy") from error
        if not _is_database_error(error):
            raise
        text = " ".join(str(error).split())
        if isinstance(error, DamagedError):
            raise ReidError(f"gallery {path} is damaged, {text}: restore a copy") from error
        reasons = {
            "locked": "is being written by another process: wait for it to finish and try again",
            "not a database": "is not a gallery, is damaged, or has another key: "
            "check path and key, or restore a copy",
            "malformed": "is damaged: restore a copy",
            "no such": "is damaged: restore a copy",  # table, column
            "decode to UTF-8": "is damaged, it holds text that is not UTF-8: restore a copy",
            "disk I/O": (
                "cannot be read or written, the disk fails or is full: free some space, or restore a copy "
                "elsewhere"
            ),
            "full": "cannot grow, the disk is full: free some space and try again",
            "readonly": "cannot be written: check the permissions of the file and its folder",
            "unable to open": "cannot be opened: check the permissions of the file and its folder",
        }
        reason = next(
            (reason for key, reason in reasons.items() if key in text),
            f"fails ({text}): run `reid gallery verify {path}`",
        )
        raise ReidError(f"gallery {path} {reason}") from error
