"""Search in large galleries: a compact FAISS index proposes references, their exact distances come from the database.

What the index gets wrong is whom it does not propose; a distance is never wrong. How often that happens is measured when an index is
built, and stored with it.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from serving.gallery import Gallery
from serving.gallery_checks import check_embeddings
from serving.gallery_index import nearest_people
from serving.gallery_parts import IndexFacts, drop_index, index_facts, read_index_parts, write_index_parts

__all__ = ["KINDS", "RECALL", "BuiltIndex", "CompactIndex", "build_index", "remove_index"]

Rows = npt.NDArray[np.float32]
RECALL = 0.99  # what the approximate index must reach
_NEIGHBOURS = 10
_PROPOSED = 10  # references proposed for each wanted one
_MEASURED = 256  # references that recall is measured with
_TRAINED = 65_536  # references that lists and codes are learned from
_ROWS_A_LIST = 1000
_LEAST = 512  # references: fewer are too few to learn codes from, and exact search of them takes no time


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """What building an index came to."""

    kind: str
    references: int
    recall: float  # share of the 10 truly nearest other references that the index finds
    bytes: int  # in memory and in the gallery's file
    version: int


def _fp16(rows: Rows, _: float) -> Any:
    import faiss

    index = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2)
    index.train(rows[:1])
    return faiss.IndexIDMap2(index)


def _pq(rows: Rows, _: float) -> Any:
    import faiss

    index = faiss.IndexPQ(rows.shape[1], _divisor(rows.shape[1], 8), 8, faiss.METRIC_L2)
    index.train(rows)
    return faiss.IndexIDMap2(index)


def _ivf(rows: Rows, references: float) -> Any:
    import faiss

    dim = rows.shape[1]
    lists = int(max(4, min(4096, references / _ROWS_A_LIST, len(rows) / 39)))
    index = faiss.index_factory(dim, f"IVF{lists},PQ{_divisor(dim, 2)}x4fs", faiss.METRIC_L2)
    index.train(rows)
    return index


KINDS: dict[str, Callable[[Rows, float], Any]] = {"ivf": _ivf, "fp16": _fp16, "pq": _pq}


def _divisor(dim: int, numbers: int) -> int:
    """How many parts a row is coded in, about ``numbers`` numbers each; parts must be of one length."""
    return next(parts for parts in range(max(1, dim // numbers), 0, -1) if dim % parts == 0)


def build_index(gallery: Gallery, kind: str) -> BuiltIndex:
    """Build, measure and store a gallery's compact index.

    ``ivf`` searches a part of the references, as large a part as it takes to find 99 % of the nearest ones. ``fp16`` and ``pq``
    search all of them, in a half and about a thirtieth of the memory.

    Raises:
        UsageError: the kind is unknown.
        ReidError: the gallery holds too few references, or ``ivf`` does not reach that recall.
    """
    if kind not in KINDS:
        raise UsageError(f"index {kind!r} is unknown: want one of {', '.join(KINDS)}")
    exact = gallery.index()
    rows = exact.embeddings
    if len(rows) < _LEAST:
        raise ReidError(f"gallery {gallery.path} holds {len(rows)} references, an index wants {_LEAST} or more: search it without")
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(rows), min(len(rows), _TRAINED), replace=False))
    index = KINDS[kind](rows[chosen], float(len(rows)))
    index.add_with_ids(rows, exact.ids)
    probes = np.sort(rng.choice(len(rows), min(len(rows), _MEASURED), replace=False))
    recall = _tuned(index, rows, exact.ids, probes) if kind == "ivf" else _recall(index, rows, exact.ids, probes, _truth(rows, probes))
    if kind == "ivf" and recall < RECALL:
        raise ReidError(f"the index finds {recall:.3f} of the nearest references, {RECALL} are wanted: build fp16 instead")
    with gallery.store.writing() as change:
        if change.version - 1 != exact.version:
            raise ReidError(f"gallery {gallery.path} was changed while its index was built: build it again")
        size = write_index_parts(change.db, kind, index, exact.last_id, recall)
        change.rewrites = True
        change.log("index", "", f"{kind}, {len(rows)} references, recall {recall:.4f}")
    return BuiltIndex(kind, len(rows), recall, size, change.version)


def remove_index(gallery: Gallery) -> bool:
    """Drop the stored index; returns whether there was one."""
    with gallery.store.writing() as change:
        if not drop_index(change.db):
            return False
        change.rewrites = change.leaves_bytes = True
        change.log("index", "", "dropped")
    gallery.store.purge()
    return True


def _truth(rows: Rows, probes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    import faiss

    _, found = faiss.knn(rows[probes], rows, min(len(rows), _NEIGHBOURS + 1), faiss.METRIC_INNER_PRODUCT)
    return found


def _tuned(index: Any, rows: Rows, ids: npt.NDArray[np.int64], probes: npt.NDArray[np.int64]) -> float:
    """Search more lists until the recall is reached; returns it."""
    truth = _truth(rows, probes)
    index.nprobe = 1
    while True:
        recall = _recall(index, rows, ids, probes, truth)
        # A little more than wanted: it is measured on a sample.
        if recall >= RECALL + (1 - RECALL) / 4 or index.nprobe >= index.nlist:
            return recall
        index.nprobe = min(index.nlist, max(index.nprobe + 1, int(1.5 * index.nprobe)))


def _recall(index: Any, rows: Rows, ids: npt.NDArray[np.int64], probes: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Share of the truly nearest other references that are among the nearest of those proposed."""
    _, proposed = index.search(rows[probes], min(len(rows), _PROPOSED * (_NEIGHBOURS + 1)))
    shares = []
    for probe, near, true in zip(probes, proposed, truth, strict=True):
        found = np.searchsorted(ids, near[near >= 0])
        found = found[found != probe]
        order = np.argsort(np.linalg.norm(rows[found] - rows[probe], axis=1), kind="stable")[:_NEIGHBOURS]
        wanted = [one for one in true if one != probe][:_NEIGHBOURS]
        shares.append(len(set(found[order]) & set(wanted)) / len(wanted))
    return float(np.mean(shares))


class CompactIndex:
    """Search through a gallery's stored index. Follows the gallery: what is enrolled later is found, what was removed is not."""

    def __init__(self, gallery: Gallery) -> None:
        """Load the index.

        Raises:
            ReidError: the gallery has none, or it was opened with another model.
        """
        self._gallery = gallery
        self._version = -1
        with gallery.store.reading() as db:
            self._follow(db)

    @property
    def facts(self) -> IndexFacts:
        """Of the stored index."""
        return self._facts

    def search(self, embeddings: npt.ArrayLike, k: int = 10) -> list[list[tuple[str, float]]]:
        """As :meth:`serving.gallery.Gallery.search`; a near person may be missing, a distance is exact.

        Raises:
            ReidError: a query is not finite, not of norm 1, or of another dimension.
        """
        if k < 1:
            raise UsageError(f"k is {k}: want 1 or more")
        with self._gallery.store.reading() as db:
            self._follow(db)
            queries = check_embeddings(embeddings, self._index.d)
            found: list[list[tuple[str, float]]] = [[] for _ in queries]
            k = min(k, len(self._names))
            pending, wanted = list(range(len(queries))), min(self._index.ntotal, _PROPOSED * k)
            while pending:
                _, proposed = self._index.search(queries[pending], wanted)
                ids, people, rows = _rows_of(db, np.unique(proposed[proposed >= 0]), self._index.d)
                for query, near in zip(pending, proposed, strict=True):
                    at = np.searchsorted(ids, near[near >= 0])
                    distances = np.linalg.norm(rows[at] - queries[query], axis=1)
                    found[query] = nearest_people(people[at], distances, self._names, k)
                if wanted == self._index.ntotal:
                    break
                # An index that searches a part may never see enough people: it is asked once more, not again and again.
                pending = [query for query in pending if len(found[query]) < k]
                wanted = min(self._index.ntotal, 8 * wanted) if wanted == _PROPOSED * k else self._index.ntotal
            return found

    def _follow(self, db: sqlite3.Connection) -> None:
        version = self._gallery.store.meta(db, "version") or 0
        if version == self._version:
            return
        self._gallery.check_model(db)
        if (self._gallery.store.meta(db, "rewritten") or 0) > self._version:
            facts = index_facts(db)
            if facts is None:
                raise ReidError(f"gallery {self._gallery.path} has no index: build one with `reid gallery index`")
            self._facts, self._index, self._last = facts, read_index_parts(db), facts.last_id
        new = db.execute(
            "SELECT id, embedding FROM refs WHERE id > ? AND model_id = (SELECT id FROM models WHERE active = 1) ORDER BY id", (self._last,)
        ).fetchall()
        if new:
            ids, blobs = zip(*new, strict=True)
            self._index.add_with_ids(np.frombuffer(b"".join(blobs), "<f4").reshape(len(ids), -1), np.asarray(ids, np.int64))
            self._last = ids[-1]
        self._names: dict[int, str] = dict(db.execute("SELECT id, name FROM people WHERE id IN (SELECT person_id FROM refs)"))
        self._version = version


def _rows_of(db: sqlite3.Connection, ids: npt.NDArray[np.int64], dim: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Rows]:
    """The references of sorted ids: ids, whose they are, embeddings."""
    if not len(ids):
        return ids, ids, np.empty((0, dim), np.float32)
    wanted = f"[{','.join(map(str, ids.tolist()))}]"
    found = db.execute("SELECT id, person_id, embedding FROM refs WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id", (wanted,))
    there, people, blobs = zip(*found.fetchall(), strict=True)
    rows = np.frombuffer(b"".join(blobs), "<f4").reshape(len(there), dim)
    return np.asarray(there, np.int64), np.asarray(people, np.int64), rows
