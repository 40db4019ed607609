"""One open gallery file: transactions, the version they raise, the audit lines they leave, and the erasing of
what was removed.
"""

import sqlite3
import threading
import time as clock
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reid.errors import ReidError
from serving.gallery.database.connect import BUSY_TIMEOUT_S, connect, database_errors
from serving.gallery.index.parts import prune

__all__ = ["Change", "Store"]


@dataclass(eq=False)
class Change:
    """A transaction under way."""

    db: sqlite3.Connection
    version: int  # of the gallery when this change is done
    rewrites: bool = False  # more than new references: arrays in memory must be read anew
    leaves_bytes: bool = False  # rows were deleted, whose bytes must be erased
    raises_version: bool = True  # False: only the audit log grows
    entries: list[tuple[str, str, str]] = field(default_factory=list)

    def log(self, action: str, identity: str, detail: str = "") -> None:
        """Add a line to the audit log."""
        self.entries.append((action, identity, detail))


class Store:
    """A gallery's database. Safe for use from several threads, one at a time."""

    def __init__(
        self,
        path: Path,
        who: str,
        key: bytes | None = None,
        *,
        read_only: bool = False,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        """Open the file; ``read_only`` and ``busy_timeout_s`` as in
        :func:`serving.gallery.database.connect.connect`.

        Raises:
            UsageError: there is no file.
            ReidError: it is no gallery, damaged, or readable by others.
        """
        self.path = path
        self._db = connect(path, key, read_only=read_only, busy_timeout_s=busy_timeout_s)
        self._who = who
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One version of the database, whatever is written meanwhile."""
        with self._lock, database_errors(self.path):
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[Change]:
        """One change: all of it with the new version and its audit lines, or nothing. A change without an
        audit line is undone.
        """
        with self._lock, database_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                change = Change(self._db, (self.meta(self._db, "version") or 0) + 1)
                yield change
                self._db.execute("COMMIT" if self._finish(change) else "ROLLBACK")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _finish(self, change: Change) -> bool:
        db, version = change.db, change.version
        if change.raises_version:
            db.execute(
                "UPDATE meta SET value = ? WHERE key = 'version' OR (key = 'rewritten' AND ?)",
                (version, change.rewrites),
            )
        else:
            version -= 1
        if change.leaves_bytes:
            prune(db)
            db.execute("UPDATE meta SET value = 1 WHERE key = 'purge_pending'")
        now = clock.time()
        rows = [
            (now, self._who, action, identity, detail, version) for action, identity, detail in change.entries
        ]
        db.executemany(
            "INSERT INTO audit (at, who, action, identity, detail, version) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
        return bool(rows)

    def purge(self) -> bool:
        """Rewrite the file without what was removed, and empty its log; False while another process is in the
        way, or there is no room for the new file.

        ``secure_delete`` alone leaves pieces of rows in the gaps of pages that were merged, so the file is
        built anew.
        """
        with self._lock, database_errors(self.path):
            if not self.meta(self._db, "purge_pending"):
                return True
            if self._db.execute("PRAGMA query_only").fetchone()[0]:
                return False
            try:
                self._db.execute("VACUUM")
                if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return False
                self._db.execute("UPDATE meta SET value = 0 WHERE key = 'purge_pending'")
            except Exception as error:
                # Of sqlite3 or of SQLCipher, whose errors have no class in common.
                if "locked" in str(error) or "full" in str(error):
                    return False
                raise
            return True

    def person(self, db: sqlite3.Connection, identity: str) -> tuple[int, str]:
        """Key and name of a person.

        Raises:
            ReidError: nobody has that name.
        """
        row = db.execute(
            "SELECT id, name FROM people WHERE name = ?", (unicodedata.normalize("NFC", identity),)
        ).fetchone()
        if row is None:
            shown = identity if len(identity) <= 40 else identity[:40] + "..."
            raise ReidError(
                f"gallery {self.path} has nobody named {shown!r}: see `reid gallery list {self.path}`"
            )
        return int(row[0]), str(row[1])

    @staticmethod
    def meta(db: sqlite3.Connection, key: str) -> int | None:
        """A number that the gallery keeps about itself: version, rewritten, purge_pending, retain_days."""
        return db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
