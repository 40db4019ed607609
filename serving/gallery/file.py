"""A gallery's file: opened or made, and held to the one model whose embeddings are inside."""

import getpass
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from reid.errors import ReidError, UsageError
from reid.files import is_there
from serving.gallery.database.connect import BUSY_TIMEOUT_S
from serving.gallery.database.schema import create_database
from serving.gallery.database.store import Store

__all__ = ["GalleryFile", "user_name"]


def user_name() -> str:
    """Who works here: the login name, or ``uid 4242`` where the system knows none, as in a container that
    runs as a number.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 made an OSError of it
        return f"uid {os.getuid()}"


class GalleryFile:
    """What :class:`serving.gallery.Gallery` is without its operations."""

    def __init__(
        self,
        path: Path,
        fingerprint: str | None,
        dim: int | None,
        who: str,
        key: bytes | None,
        read_only: bool = False,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self.path = path
        self._model = fingerprint
        self._dim = dim
        self._who = who
        self._key = key
        self._read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._opened: Store | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        fingerprint: str | None,
        dim: int | None = None,
        create: bool | None = None,
        *,
        who: str | None = None,
        key: bytes | None = None,
        read_only: bool = False,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> Self:
        """Open a gallery.

        Args:
            path: the database file.
            fingerprint: of the model whose embeddings are enrolled and searched; None for work that touches
                no embedding.
            dim: length of an embedding; None takes it from the gallery, or from the first enrolment.
            create: what to do when the file is not there: True makes it, False refuses, None makes it at the
                first enrolment and refuses everything else until then.
            who: named in the audit log; :func:`user_name` where None.
            read_only: to be searched and looked at, nothing in the file is changed. A file that cannot be
                written is opened so anyway.
            busy_timeout_s: how long a change waits for another process that writes.
            key: 32 bytes, of an encrypted gallery, from :func:`serving.gallery.key_from_environment`.

        Raises:
            UsageError: the file does not exist and is not to be made.
            ReidError: the file is readable by others, is no gallery, has another key, or was made by another
                model.
        """
        gallery = cls(Path(path), fingerprint, dim, who or user_name(), key, read_only, busy_timeout_s)
        if create:
            gallery._create()
        if create is not None or is_there(gallery.path, "gallery"):
            gallery._open()
        return gallery

    @property
    def store(self) -> Store:
        """The database, opened at its first use; for the modules of this package."""
        return self._opened or self._open()

    def _open(self) -> Store:
        store = Store(
            self.path,
            self._who,
            self._key,
            read_only=self._read_only,
            busy_timeout_s=self._busy_timeout_s,
        )
        try:
            with store.reading() as db:
                self.check_model(db)
            # a removal that was killed after its acknowledgement and before its bytes were gone
            store.purge()
        except BaseException:
            store.close()
            raise
        self._opened = store
        return store

    def _create(self) -> None:
        if not self._model:
            raise UsageError(
                f"gallery {self.path} was opened without a model: open it with the fingerprint of the "
                "embeddings' model"
            )
        self.ensure_exists(self._model, self._dim)

    def ensure_exists(self, fingerprint: str, dim: int | None) -> None:
        """Make the file if it is not there, for embeddings of a model."""
        if not is_there(self.path, "gallery"):
            create_database(self.path, fingerprint, dim, self._key)

    def check_model(self, db: sqlite3.Connection) -> None:
        """Refuse to compare embeddings of different models.

        Raises:
            ReidError: the gallery's embeddings are of another model or dimension than those it was opened
                for.
        """
        dim = self._dim
        made_by, its_dim = db.execute("SELECT fingerprint, dim FROM models WHERE active = 1").fetchone()
        if self._model not in (None, made_by):
            way_out = (
                "use that model, embed the gallery anew with `reid gallery reembed`, or enroll a new one"
            )
            raise ReidError(
                f"gallery {self.path} holds embeddings of model {made_by}, not of {self._model}: {way_out}"
            )
        if None not in (dim, its_dim) and dim != its_dim:
            raise ReidError(
                f"gallery {self.path} holds embeddings of {its_dim} numbers, not of {dim}: use the "
                "gallery's own model"
            )

    def close(self) -> None:
        """Close the database."""
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def version(self) -> int:
        """Raised by one with every change; a job records the version it used."""
        with self.store.reading() as db:
            return self.store.meta(db, "version") or 0

    @property
    def fingerprint(self) -> str:
        """Of the model whose embeddings are inside."""
        with self.store.reading() as db:
            return str(db.execute("SELECT fingerprint FROM models WHERE active = 1").fetchone()[0])
