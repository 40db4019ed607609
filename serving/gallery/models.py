"""Re-embedding a gallery with a new model: the new embeddings grow beside the old ones and take over in one
moment.

The references of the active model are searched; those of at most one other model lie beside them, each the
twin of an active one.
"""

import sqlite3
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy.typing as npt

from reid.embeddings import check_dim, check_embeddings
from reid.errors import ReidError, UsageError
from serving.embedding import Unreadable, embed_files
from serving.gallery.checks import digest
from serving.gallery.database.store import Change
from serving.gallery.index.parts import drop_index
from serving.runtime import Embedder

if TYPE_CHECKING:
    from serving.gallery.gallery import Gallery

__all__ = [
    "GalleryModel",
    "Reembedding",
    "add_embeddings",
    "forget_model",
    "models_of",
    "pending",
    "reembed",
    "stage_model",
    "switch_model",
]

_BATCH = 1024  # images between two transactions: what a killed run has to do again

# Active references without a twin of the model, whichever of the two names the other.
_PENDING = (
    "FROM refs r JOIN models a ON a.id = r.model_id AND a.active = 1 WHERE NOT EXISTS "
    "(SELECT 1 FROM refs t WHERE t.model_id = :model AND (t.twin = r.id OR t.id = r.twin))"
)


@dataclass(frozen=True, slots=True)
class GalleryModel:
    """A model whose embeddings a gallery holds."""

    fingerprint: str
    dim: int | None
    active: bool
    references: int
    missing: int  # active references that this model has not embedded


@dataclass(frozen=True, slots=True)
class Reembedding:
    """What a run of :func:`reembed` did."""

    embedded: int
    missing: int  # references that are still without an embedding of the new model
    unreadable: tuple[Unreadable, ...]


def models_of(gallery: "Gallery") -> list[GalleryModel]:
    """The models of a gallery, the active one first."""
    with gallery.store.reading() as db:
        rows = db.execute(
            "SELECT m.id, m.fingerprint, m.dim, m.active, (SELECT count(*) FROM refs WHERE model_id = "
            "m.id) FROM models m "
            "ORDER BY m.active DESC, m.id"
        ).fetchall()
        missing = {
            model: db.execute(f"SELECT count(*) {_PENDING}", {"model": model}).fetchone()[0]
            for model, *_ in rows[1:]
        }
    return [
        GalleryModel(name, dim, bool(active), count, missing.get(model, 0))
        for model, name, dim, active, count in rows
    ]


def stage_model(gallery: "Gallery", fingerprint: str, dim: int) -> None:
    """Make room for a second model; nothing happens when it is there already.

    Raises:
        UsageError: the model is the active one.
        ReidError: another second model is there, or this one with another dimension.
    """
    with gallery.store.writing() as change:
        found = change.db.execute(
            "SELECT fingerprint, dim, active FROM models ORDER BY active DESC"
        ).fetchall()
        if found[0][0] == fingerprint:
            raise UsageError(
                f"gallery {gallery.path} is already searched with model {fingerprint}: name another model"
            )
        if len(found) > 1 and found[1][0] != fingerprint:
            way_out = f"finish with it, or drop it with `reid gallery forget {gallery.path} {found[1][0]}`"
            raise ReidError(
                f"gallery {gallery.path} has embeddings of model {found[1][0]} besides its own: {way_out}"
            )
        if len(found) > 1 and found[1][1] != dim:
            raise ReidError(
                f"model {fingerprint} had embeddings of {found[1][1]} numbers before, now of {dim}: "
                "correct its model.json"
            )
        if len(found) == 1:
            row = (fingerprint, dim, clock.time())
            change.db.execute(
                "INSERT INTO models (fingerprint, dim, active, added_at) VALUES (?, ?, 0, ?)", row
            )
            change.log("stage", "", f"model {fingerprint}")


def pending(gallery: "Gallery", fingerprint: str) -> list[tuple[int, str]]:
    """Id and source of every active reference that a model has not embedded.

    Raises:
        ReidError: the gallery does not know the model.
    """
    with gallery.store.reading() as db:
        model = _model(gallery, db, fingerprint)[0]
        return db.execute(f"SELECT r.id, r.source {_PENDING} ORDER BY r.id", {"model": model}).fetchall()


def add_embeddings(
    gallery: "Gallery", fingerprint: str, references: Sequence[int], embeddings: npt.ArrayLike
) -> int:
    """Store a staged model's embeddings of active references; returns how many. Those removed meanwhile or
    done already are left out.

    Args:
        gallery: any.
        fingerprint: of a staged model.
        references: (N,) ids, as in :func:`pending`.
        embeddings: (N, D) L2-normalised.

    Raises:
        ReidError: the model is not staged, or an embedding is wrong; nothing is changed then.
    """
    matrix = check_embeddings(embeddings, None)
    if len(matrix) != len(references):
        raise ReidError(
            f"there are {len(references)} references for {len(matrix)} embeddings: give one a row"
        )
    with gallery.store.writing() as change:
        model, dim, active = _model(gallery, change.db, fingerprint)
        if active:
            raise UsageError(
                f"model {fingerprint} is the active one of gallery {gallery.path}: enroll instead"
            )
        check_dim(matrix, dim)
        blobs = [row.tobytes() for row in matrix]
        before = change.db.total_changes
        change.db.executemany(
            "INSERT INTO refs (person_id, model_id, twin, taken_at, enrolled_at, quality, source, "
            "camera, sha256, embedding) "
            "SELECT r.person_id, :model, r.id, r.taken_at, r.enrolled_at, r.quality, r.source, "
            f"r.camera, :hash, :row {_PENDING} "
            "AND r.id = :id",
            (
                {"model": model, "id": key, "hash": digest(blob), "row": blob}
                for key, blob in zip(references, blobs, strict=True)
            ),
        )
        added = change.db.total_changes - before
        if added:
            change.log("reembed", "", f"{added} references with model {fingerprint}")
    return added


def switch_model(gallery: "Gallery", fingerprint: str, *, leave_behind: bool = False) -> None:
    """Search with another model from now on, in one moment; the embeddings of the one before stay until they
    are forgotten.

    Args:
        gallery: any.
        fingerprint: of the model to use.
        leave_behind: switch although references are without an embedding of that model; they are not searched
            then.

    Raises:
        ReidError: the gallery does not know the model, or references are missing and are not to be left
            behind.
    """
    with gallery.store.writing() as change:
        model, _, active = _model(gallery, change.db, fingerprint)
        if active:
            raise UsageError(
                f"gallery {gallery.path} is already searched with model {fingerprint}: name another model"
            )
        missing = change.db.execute(f"SELECT count(*) {_PENDING}", {"model": model}).fetchone()[0]
        if missing and not leave_behind:
            way_out = "run `reid gallery reembed` again, or switch with --leave-behind"
            raise ReidError(
                f"{missing} references of gallery {gallery.path} have no embedding of model "
                f"{fingerprint}: {way_out}"
            )
        # One after the other: at no moment may two be active.
        change.db.execute("UPDATE models SET active = 0 WHERE active = 1")
        change.db.execute("UPDATE models SET active = 1 WHERE id = ?", (model,))
        drop_index(change.db)
        change.rewrites = True
        change.log("switch", "", f"to model {fingerprint}, {missing} references left behind")


def forget_model(gallery: "Gallery", fingerprint: str) -> bool:
    """Erase the embeddings of a model that is not active, and people who have no other; returns whether all
    bytes are gone.

    Raises:
        UsageError: the model is the active one.
        ReidError: the gallery does not know the model.
    """
    with gallery.store.writing() as change:
        model, _, active = _model(gallery, change.db, fingerprint)
        if active:
            raise UsageError(
                f"model {fingerprint} is the active one of gallery {gallery.path}: switch to another first"
            )
        count = change.db.execute("DELETE FROM refs WHERE model_id = ?", (model,)).rowcount
        change.db.execute("DELETE FROM models WHERE id = ?", (model,))
        change.log("forget", "", f"model {fingerprint}, {count} references")
        _remove_empty(change)
        change.rewrites = change.leaves_bytes = True
    return gallery.store.purge()


def reembed(
    gallery: "Gallery", embedder: Embedder, on_progress: Callable[[int, int], None] | None = None
) -> Reembedding:
    """Embed every reference's image anew with another model; a run that was killed goes on where it stopped.

    Nothing is searched with the new embeddings before :func:`switch_model`.

    Args:
        gallery: opened without a fingerprint, or with the old model's.
        embedder: the new model.
        on_progress: called with (done, all) images.
    """
    stage_model(gallery, embedder.fingerprint, embedder.dim)
    todo = pending(gallery, embedder.fingerprint)
    unreadable: list[Unreadable] = []
    added = 0
    for start in range(0, len(todo), _BATCH):
        batch = todo[start : start + _BATCH]
        found = embed_files(embedder, [Path(source) for _, source in batch])
        unreadable += found.unreadable
        if len(found.index):
            added += add_embeddings(
                gallery, embedder.fingerprint, [batch[int(row)][0] for row in found.index], found.embeddings
            )
        if on_progress is not None:
            on_progress(start + len(batch), len(todo))
    return Reembedding(added, len(pending(gallery, embedder.fingerprint)), tuple(unreadable))


def _model(gallery: "Gallery", db: sqlite3.Connection, fingerprint: str) -> tuple[int, int | None, bool]:
    found = db.execute("SELECT id, dim, active FROM models WHERE fingerprint = ?", (fingerprint,)).fetchone()
    if found is None:
        raise ReidError(
            f"gallery {gallery.path} knows no model {fingerprint}: see `reid gallery models {gallery.path}`"
        )
    return int(found[0]), found[1], bool(found[2])


def _remove_empty(change: Change) -> None:
    empty = change.db.execute(
        "SELECT id, name FROM people WHERE id NOT IN (SELECT person_id FROM refs)"
    ).fetchall()
    for person, name in empty:
        change.db.execute("DELETE FROM people WHERE id = ?", (person,))
        change.log("remove", name, "no reference left")
