"""The gallery: known people and their reference embeddings in one SQLite file. Every operation on it is a
method here.

Every change is one transaction that also raises ``version`` by one and adds to the audit log. Any number of
processes may read while one writes; each answer comes from one version. Search runs on arrays in memory that
are read anew when ``version`` has changed.
"""

import sqlite3
import time as clock
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reid.embeddings import check_embeddings
from reid.errors import UsageError
from serving.gallery import people
from serving.gallery.checks import MOST_DAYS, seconds
from serving.gallery.conflicts import Conflict, find_conflicts
from serving.gallery.database import queries
from serving.gallery.database.queries import AuditEntry, Person, Reference, Removal, VerifyReport
from serving.gallery.database.references import NewReferences
from serving.gallery.database.store import Change, Store
from serving.gallery.file import GalleryFile
from serving.gallery.index.exact import ReferenceIndex

if TYPE_CHECKING:
    from serving.gallery.index.build import BuiltIndex
    from serving.gallery.index.compact import CompactIndex
    from serving.gallery.models import GalleryModel, Reembedding
    from serving.runtime import Embedder

__all__ = ["Gallery", "Removal"]


class Gallery(GalleryFile):
    """Known people. Open with :meth:`open`; use as a context manager or call :meth:`close`.

    The fingerprint names the model whose embeddings the file holds, here of two dimensions:

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Gallery.open(f"{folder}/people.db", "0" * 64) as gallery:
    ...     version = gallery.enroll("anna", [[1.0, 0.0], [0.8, 0.6]], source="door 1")
    ...     version = gallery.enroll("bert", [[0.0, 1.0]])
    ...     [(name, round(distance, 3)) for name, distance in gallery.search([[0.6, 0.8]], 2)[0]]
    [('anna', 0.283), ('bert', 0.632)]
    """

    _index: ReferenceIndex | None = None  # of the version that was read last

    @property
    def retain_days(self) -> int | None:
        """How long references are kept, counted from when they were taken; None keeps them for ever."""
        with self.store.reading() as db:
            return self.store.meta(db, "retain_days")

    def set_retention(self, days: int | None) -> None:
        """Keep references for so many days (None: for ever); what is older goes when :meth:`expire` is
        called.
        """
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise UsageError(f"retention of {days} days: want 1 to {MOST_DAYS}, or none")
        with self.store.writing() as change:
            change.db.execute("UPDATE meta SET value = ? WHERE key = 'retain_days'", (days,))
            change.log("retention", "", "no end" if days is None else f"{days} days")

    def enroll(
        self,
        identity: str | Sequence[str],
        embeddings: npt.ArrayLike,
        source: object = "",
        camera: object = "",
        time: object = None,
        quality: object = 1.0,
    ) -> int:
        """Add references of one or more people in one change, all or none.

        Args:
            identity: the person's name, 1 to 200 characters; or the name of each row's person (K,).
            embeddings: (K, D) L2-normalised, K >= 1.
            source: where the images come from; one text for all, or one a row. Likewise the following.
            camera: that took them.
            time: when they were taken, seconds since 1970 or a datetime; now where None.
            quality: weight of each, 0 to 1.

        Returns:
            The gallery's version with these references inside.

        Raises:
            ReidError: the name, an embedding or another value is wrong, or the database cannot be written;
                nothing is changed then.
        """
        new = NewReferences.checked(identity, embeddings, self._dim, source, camera, time, quality)
        self._create()
        with self.store.writing() as change:
            self.check_model(change.db)
            new.insert(change)
        return change.version

    def search(self, embeddings: npt.ArrayLike, k: int = 10) -> list[list[tuple[str, float]]]:
        """The ``k`` nearest different people of each query, nearest first, with the Euclidean distance of
        their nearest reference.

        Raises:
            ReidError: a query is not finite, not of norm 1, or of another dimension.
        """
        if k < 1:
            raise UsageError(f"k is {k}: want 1 or more")
        index = self.index()
        return index.search(check_embeddings(embeddings, index.embeddings.shape[1] or None), k)

    def references(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.str_]]:
        """All references: embeddings (N, D), read-only, and the identity (N,) of each."""
        index = self.index()
        return index.embeddings, index.identities

    def index(self) -> ReferenceIndex:
        """The references of the newest version, as arrays. Reads only what is new where nothing but
        enrolments happened since.
        """
        with self.store.reading() as db:
            return self.index_in(db)

    def index_in(self, db: sqlite3.Connection) -> ReferenceIndex:
        """As :meth:`index`, inside a reading that is under way."""
        version, rewritten = self.store.meta(db, "version") or 0, self.store.meta(db, "rewritten") or 0
        before = self._index
        if before is None or before.version != version:
            self.check_model(db)
            dim = db.execute("SELECT dim FROM models WHERE active = 1").fetchone()[0]
            keep = (
                before
                if before is not None and len(before.embeddings) and before.version >= rewritten
                else None
            )
            before = self._index = queries.read_index(db, version, dim, keep)
        return before

    def people(self) -> list[Person]:
        """Everybody, by name."""
        with self.store.reading() as db:
            return queries.people(db)

    def show(self, identity: str) -> list[Reference]:
        """The references of one person.

        Raises:
            ReidError: nobody has that name.
        """
        with self.store.reading() as db:
            return queries.references_of(db, self.store.person(db, identity)[0])

    def audit(self) -> list[AuditEntry]:
        """Who did what, when, to whom; oldest first."""
        with self.store.reading() as db:
            return queries.audit_log(db)

    def rename(self, identity: str, new_name: str) -> None:
        """Give a person another name.

        Raises:
            ReidError: nobody has the old name, or somebody has the new one.
        """
        people.rename(self.store, identity, new_name)

    def merge(self, identity: str, into: str) -> None:
        """Two names are one person: give all references of ``identity`` to ``into``.

        Raises:
            ReidError: nobody has one of the names.
        """
        people.merge(self.store, identity, into)

    def correct(
        self,
        steps: Sequence[Callable[[Store, Change], None]],
        new: Sequence[NewReferences],
        mark: str,
        where: str,
    ) -> bool:
        """Several changes as one: all of them, or nothing.

        Args:
            steps: such as ``rename_in`` and ``merge_in``, in order.
            new: references that are added after them.
            mark: tells these corrections from all others, as a hash does; it stands in the audit log then.
            where: they were made, for the audit log.

        Returns:
            False where the audit log has the mark already: nothing is changed then.

        Raises:
            ReidError: a step cannot be done, or the references are of another model.
        """
        with self.store.writing() as change:
            before = "SELECT 1 FROM audit WHERE action = 'correct' AND substr(detail, 1, length(?)) = ?"
            if change.db.execute(before, (mark, mark)).fetchone():
                return False
            self.check_model(change.db)
            for step in steps:
                step(self.store, change)
            for one in new:
                one.insert(change)
            change.raises_version = bool(steps or new)
            change.log("correct", "", f"{mark} {where}")
        return True

    def split(self, identity: str, references: Sequence[int], into: str) -> None:
        """One name is two people: give some references, by their ids, to a new person ``into``.

        Raises:
            ReidError: nobody has the name, somebody has the new one, a reference is not this person's, or
                none would stay or leave.
        """
        people.split(self.store, identity, references, into)

    def remove(self, identity: str) -> Removal:
        """Take a person and all references out; afterwards the embeddings' bytes are in no file of the
        gallery.

        Raises:
            ReidError: nobody has that name.
        """
        return people.remove(self.store, identity)

    def expire(self, now: object = None) -> Removal:
        """Take out references taken longer ago than the retention time, and people who have none left.

        Without a retention time nothing happens.

        Args:
            now: seconds since 1970 or a datetime; the clock's where None.
        """
        return people.expire(self.store, clock.time() if now is None else seconds(now, "now"))

    def export(self, path: Path | str) -> int:
        """Write all references to a Parquet file that only its owner can read, never encrypted; returns how
        many.
        """
        # pyarrow costs half of the time that opening a gallery takes
        from serving.gallery.transfer import (
            export_references,
        )

        return export_references(self, Path(path))

    def import_from(self, path: Path | str) -> tuple[int, int]:
        """Enroll everything that an export holds, in one change, and say how many were added and how many
        were there already.

        A gallery that was not there is made, with the export's retention.

        Raises:
            ReidError: the export is of another model, is damaged, or holds a wrong value; nothing is changed
                then.
        """
        from serving.gallery.transfer import import_references

        return import_references(self, Path(path))

    @staticmethod
    def encrypt(path: Path | str, out: Path | str, key: bytes) -> None:
        """Write an encrypted copy of the plain gallery ``path``, which stays and is the caller's to delete.

        Raises:
            UsageError: ``out`` exists, or SQLCipher is not installed.
            ReidError: ``path`` is no plain gallery.
        """
        from serving.gallery.transfer import encrypt_gallery

        encrypt_gallery(Path(path), Path(out), key)

    def find_conflicts(
        self, identities: Sequence[str], embeddings: npt.ArrayLike, sources: Sequence[str], near: float | None
    ) -> list[Conflict]:
        """What speaks against new references (N,) that are not enrolled yet: see
        :func:`serving.gallery.conflicts.find_conflicts`.
        """
        return find_conflicts(self, identities, embeddings, sources, near)

    def models(self) -> "list[GalleryModel]":
        """The models whose embeddings are inside, the one that is searched first."""
        from serving.gallery.models import models_of  # loads OpenCV, as the next three do

        return models_of(self)

    def reembed(
        self, embedder: "Embedder", on_progress: Callable[[int, int], None] | None = None
    ) -> "Reembedding":
        """Embed every reference's image anew with another model; a run that was killed goes on where it
        stopped.

        Nothing is searched with the new embeddings before :meth:`switch_model`. ``on_progress`` is called
        with (done, all) images.

        Raises:
            ReidError: a third model would be inside, or the model fails.
        """
        from serving.gallery.models import reembed

        return reembed(self, embedder, on_progress)

    def switch_model(self, fingerprint: str, *, leave_behind: bool = False) -> None:
        """Search with another model from now on, in one moment; the embeddings of the one before stay until
        they are forgotten.

        Args:
            fingerprint: of the model to use.
            leave_behind: switch although references are without an embedding of that model; they are not
                searched then.

        Raises:
            ReidError: the gallery does not know the model, or references are missing and are not to be left
                behind.
        """
        from serving.gallery.models import switch_model

        switch_model(self, fingerprint, leave_behind=leave_behind)

    def forget_model(self, fingerprint: str) -> bool:
        """Erase the embeddings of a model that is not searched, and people who have no other; returns whether
        all bytes are gone.

        Raises:
            ReidError: the model is the one that is searched, or the gallery does not know it.
        """
        from serving.gallery.models import forget_model

        return forget_model(self, fingerprint)

    def build_index(self, kind: str = "auto") -> "BuiltIndex":
        """Build a compact search index and store it in the file: see
        :func:`serving.gallery.index.build.build_index`.
        """
        # building needs this module's class at its calls only
        from serving.gallery.index.build import build_index

        return build_index(self, kind)

    def remove_index(self) -> bool:
        """Drop the stored index; returns whether there was one."""
        from serving.gallery.index.build import remove_index

        return remove_index(self)

    def counted(self) -> tuple[int, int | None]:
        """How many references are searched, and how many of them came after the stored index was built; None
        where there is no index.
        """
        from serving.gallery.index.parts import index_facts

        with self.store.reading() as db:
            facts = index_facts(db)
            newer = None if facts is None else queries.count_references(db, facts.last_id)
            return queries.count_references(db), newer

    def compact_index(self, rows_in_memory: bool | None = None) -> "CompactIndex":
        """Search through the stored index instead of all references; ``rows_in_memory`` as in
        :class:`serving.gallery.index.compact.CompactIndex`.

        Raises:
            ReidError: the gallery has none, or it was opened with another model.
        """
        from serving.gallery.index.compact import CompactIndex

        return CompactIndex(self, rows_in_memory)

    def verify(self) -> VerifyReport:
        """Check the file's structure and every row's length, norm and hash."""
        with self.store.reading() as db:
            return queries.verify(db, self.store.meta(db, "version") or 0)
