"""Search in large galleries: a compact FAISS index proposes references, their exact distances come from the
database.

What the index gets wrong is whom it does not propose; a distance is never wrong. How often that happens is
measured when an index is built, and stored with it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reid.embeddings import check_embeddings
from reid.errors import ReidError, UsageError
from serving.gallery.database.reading import rows_of
from serving.gallery.index.exact import ReferenceIndex, nearest_people
from serving.gallery.index.parts import (
    IndexFacts,
    drop_index,
    index_facts,
    read_index_parts,
    write_index_parts,
)

if TYPE_CHECKING:
    from serving.gallery.gallery import Gallery

__all__ = ["KINDS", "RECALL", "BuiltIndex", "CompactIndex", "build_index", "remove_index"]

Rows = npt.NDArray[np.float32]
RECALL = 0.99  # what the approximate index must reach
_PEOPLE = 10  # that recall counts
_MEASURED = 256  # references that recall is measured with
_TRAINED = 80_000  # references that lists and codes are learned from
_ROWS_A_LIST = 500
_MAX_LISTS = 2000  # more cost more to learn than they save
_WIDTH = 256  # numbers a row is turned into: in embeddings, the rest is nearly nothing
_HEAD = 16  # best proposals looked at first for each person wanted
# ``qbs`` of FAISS's fast scan: a hexadecimal digit for each group of queries that it takes through a list at
# once. Four groups of two queries; in larger groups the sums no longer fit the processor's registers.
_QUERY_GROUPS = 0x2222
_LEAST = 512  # references: fewer are too few to learn codes from, and exact search of them takes no time


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """What building an index came to."""

    kind: str
    references: int
    recall: float  # share of the 10 truly nearest people that the index finds
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
    # a small gallery's loss is measured too, so there is nothing to warn of
    index.pq.cp.min_points_per_centroid = 1
    index.train(rows)
    return faiss.IndexIDMap2(index)


def _ivf(rows: Rows, references: float) -> Any:
    import faiss

    width = min(_WIDTH, rows.shape[1])
    lists = int(max(4, min(_MAX_LISTS, references / _ROWS_A_LIST, len(rows) / 39)))
    turn = f"PCAR{width}," if width < rows.shape[1] else ""
    index = faiss.index_factory(
        rows.shape[1], f"{turn}IVF{lists},PQ{_divisor(width, 2)}x4fs", faiss.METRIC_L2
    )
    index.train(rows)
    return index


@dataclass(frozen=True, slots=True)
class _Kind:
    learn: Callable[[Rows, float], Any]
    proposed: int  # references for each person wanted
    keeps_rows: bool  # distances from all references in memory, as in exact search, and not from the database


KINDS = {"ivf": _Kind(_ivf, 60, True), "fp16": _Kind(_fp16, 10, False), "pq": _Kind(_pq, 40, False)}


def _divisor(dim: int, numbers: int) -> int:
    """How many parts a row is coded in, about ``numbers`` numbers each; parts must be of one length."""
    return next(parts for parts in range(max(1, dim // numbers), 0, -1) if dim % parts == 0)


def build_index(gallery: "Gallery", kind: str) -> BuiltIndex:
    """Build, measure and store a gallery's compact index.

    ``ivf`` looks at a part of the references, as large a part as it takes to find 99 % of the nearest people;
    it is fast. ``fp16`` and ``pq`` look at all of them, in a half and about a thirtieth of the memory.

    Raises:
        UsageError: the kind is unknown.
        ReidError: the gallery holds too few references, or ``ivf`` does not reach that recall.
    """
    if kind not in KINDS:
        raise UsageError(f"index {kind!r} is unknown: want one of {', '.join(KINDS)}")
    exact = gallery.index()
    rows = exact.embeddings
    if len(rows) < _LEAST:
        raise ReidError(
            f"gallery {gallery.path} holds {len(rows)} references, an index wants {_LEAST} or more: "
            "search it without"
        )
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(rows), min(len(rows), _TRAINED), replace=False))
    index = KINDS[kind].learn(rows[chosen], float(len(rows)))
    index.add_with_ids(rows, exact.ids)
    probes = rows[np.sort(rng.choice(len(rows), min(len(rows), _MEASURED), replace=False))]
    truth = [{name for name, _ in one} for one in exact.search(probes, _PEOPLE)]
    recall = (
        _tuned(index, exact, probes, truth)
        if kind == "ivf"
        else _recall(index, exact, probes, truth, KINDS[kind].proposed)
    )
    if kind == "ivf" and recall < RECALL:
        raise ReidError(
            f"the index finds {recall:.3f} of the nearest people, {RECALL} are wanted: build fp16 instead"
        )
    with gallery.store.writing() as change:
        if change.version - 1 != exact.version:
            raise ReidError(f"gallery {gallery.path} was changed while its index was built: build it again")
        size = write_index_parts(change.db, kind, index, exact.last_id, recall)
        change.rewrites = True
        change.log("index", "", f"{kind}, {len(rows)} references, recall {recall:.4f}")
    return BuiltIndex(kind, len(rows), recall, size, change.version)


def remove_index(gallery: "Gallery") -> bool:
    """Drop the stored index; returns whether there was one."""
    with gallery.store.writing() as change:
        if not drop_index(change.db):
            return False
        change.rewrites = change.leaves_bytes = True
        change.log("index", "", "dropped")
    gallery.store.purge()
    return True


def _tuned(index: Any, exact: ReferenceIndex, probes: Rows, truth: Sequence[set[str]]) -> float:
    """Search more lists until the recall is reached; returns it."""
    import faiss

    lists = faiss.extract_index_ivf(index)
    recalls: dict[int, float] = {}

    def enough(probed: int) -> bool:
        lists.nprobe = probed
        recalls[probed] = _recall(index, exact, probes, truth, KINDS["ivf"].proposed)
        # A little more than wanted: it is measured on a sample.
        return recalls[probed] >= RECALL + (1 - RECALL) / 4

    few, many = 0, 1
    while many < lists.nlist and not enough(many):
        few, many = many, min(lists.nlist, 2 * many)
    # Time goes with the lists: between too few and enough it is worth looking for the least.
    while many - few > max(1, many // 32):
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    if many not in recalls:
        enough(many)
    lists.nprobe = many
    return recalls[many]


def _recall(
    index: Any, exact: ReferenceIndex, probes: Rows, truth: Sequence[set[str]], proposed: int
) -> float:
    """Share of the truly nearest people that are found."""
    _, ids = index.search(probes, min(len(exact.ids), proposed * _PEOPLE))
    found = ({name for name, _ in one} for one in _ranked(exact, probes, ids, _PEOPLE))
    return float(np.mean([len(one & true) / len(true) for one, true in zip(found, truth, strict=True)]))


def _ranked(
    exact: ReferenceIndex, queries: Rows, proposed: npt.NDArray[np.int64], k: int
) -> list[list[tuple[str, float]]]:
    """The nearest people among references proposed for each query (Q, R), -1 for none, by their rows in
    memory.
    """
    import faiss

    at = np.where(proposed >= 0, exact.row_of[proposed], -1).astype(np.int64)
    products = np.empty(at.shape, np.float32)
    pointers = (
        faiss.swig_ptr(array) for array in (products, np.ascontiguousarray(queries), exact.embeddings, at)
    )
    library: Any = faiss  # its types lack this function
    library.fvec_inner_products_by_idx(*pointers, queries.shape[1], *at.shape)
    products[at < 0] = -np.inf
    order = np.argsort(-products, axis=1)
    rows, products = np.take_along_axis(at, order, axis=1), np.take_along_axis(products, order, axis=1)
    found = []
    for query, near, product in zip(queries, rows, products, strict=True):
        people, enough = exact.nearest(query, near[: _HEAD * k], product[: _HEAD * k], k)
        found.append(people if enough else exact.nearest(query, near, product, k)[0])
    return found


class CompactIndex:
    """Search through a gallery's stored index. Follows the gallery: what is enrolled later is found, what was
    removed is not.
    """

    def __init__(self, gallery: "Gallery") -> None:
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
            kind = KINDS[self._facts.kind]
            exact = self._gallery.index_in(db) if kind.keeps_rows else None
            pending = list(range(len(queries)))
            wanted = min(self._index.ntotal, kind.proposed * k)
            while pending:
                _, proposed = self._index.search(queries[pending], wanted)
                near = (
                    self._from_database(db, queries[pending], proposed, k)
                    if exact is None
                    else _ranked(exact, queries[pending], proposed, k)
                )
                for query, people in zip(pending, near, strict=True):
                    found[query] = people
                if wanted == self._index.ntotal:
                    break
                # An index that looks at a part may never see enough people: it is asked once more, not again
                # and again.
                pending = [query for query in pending if len(found[query]) < k]
                wanted = (
                    min(self._index.ntotal, 8 * wanted) if wanted == kind.proposed * k else self._index.ntotal
                )
            return found

    def _from_database(
        self, db: sqlite3.Connection, queries: Rows, proposed: npt.NDArray[np.int64], k: int
    ) -> list[list[tuple[str, float]]]:
        ids, people, rows = _rows_of(db, np.unique(proposed[proposed >= 0]), self._index.d)
        result = []
        for query, near in zip(queries, proposed, strict=True):
            at = np.searchsorted(ids, near[near >= 0])
            result.append(
                nearest_people(people[at], np.linalg.norm(rows[at] - query, axis=1), self._names, k)
            )
        return result

    def _follow(self, db: sqlite3.Connection) -> None:
        version = self._gallery.store.meta(db, "version") or 0
        if version == self._version:
            return
        self._gallery.check_model(db)
        if (self._gallery.store.meta(db, "rewritten") or 0) > self._version:
            facts = index_facts(db)
            if facts is None or facts.kind not in KINDS:
                raise ReidError(
                    f"gallery {self._gallery.path} has no index: build one with `reid gallery index`"
                )
            self._facts, self._index, self._last = facts, _quick(read_index_parts(db)), facts.last_id
        new = db.execute(
            (
                "SELECT id, embedding FROM refs WHERE id > ? AND model_id = (SELECT id FROM models WHERE "
                "active = 1) ORDER BY id"
            ),
            (self._last,),
        ).fetchall()
        if new:
            ids, blobs = zip(*new, strict=True)
            self._index.add_with_ids(rows_of(ids, blobs, self._index.d), np.asarray(ids, np.int64))
            self._last = ids[-1]
        self._names: dict[int, str] = dict(
            db.execute("SELECT id, name FROM people WHERE id IN (SELECT person_id FROM refs)")
        )
        self._version = version


def _quick(index: Any) -> Any:
    """Set how queries share a pass through the lists: FAISS does not keep it in the file."""
    import faiss

    lists: Any = faiss.try_extract_index_ivf(index)
    if lists is not None:
        lists = faiss.downcast_index(lists)
        lists.qbs = _QUERY_GROUPS
    return index


def _rows_of(
    db: sqlite3.Connection, ids: npt.NDArray[np.int64], dim: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Rows]:
    """The references of sorted ids: ids, whose they are, embeddings."""
    if not len(ids):
        return ids, ids, np.empty((0, dim), np.float32)
    wanted = f"[{','.join(map(str, ids.tolist()))}]"
    found = db.execute(
        "SELECT id, person_id, embedding FROM refs WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (wanted,),
    )
    there, people, blobs = zip(*found.fetchall(), strict=True)
    return np.asarray(there, np.int64), np.asarray(people, np.int64), rows_of(there, blobs, dim)
