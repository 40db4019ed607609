"""Search in large galleries: a compact FAISS index proposes references, their exact distances come from the
database.

What the index gets wrong is whom it does not propose; a distance is never wrong. How often that happens is
measured when an index is built, and stored with it.
"""

import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reid.embeddings import check_embeddings
from reid.errors import ReidError, UsageError
from serving.gallery.database.queries import rows_of
from serving.gallery.index.build import KINDS
from serving.gallery.index.exact import ReferenceIndex, nearest_people
from serving.gallery.index.parts import IndexFacts, index_facts, read_index_parts

if TYPE_CHECKING:
    from serving.gallery.gallery import Gallery

__all__ = ["CompactIndex"]

Rows = npt.NDArray[np.float32]
_HEAD = 16  # best proposals looked at first for each person wanted
# ``qbs`` of FAISS's fast scan: a hexadecimal digit for each group of queries that it takes through a list at
# once. Four groups of two queries; in larger groups the sums no longer fit the processor's registers.
_QUERY_GROUPS = 0x2222
_AT_ONCE = 64  # queries whose references are read from the database at a time


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

    def __init__(self, gallery: "Gallery", rows_in_memory: bool | None = None) -> None:
        """Load the index.

        Args:
            gallery: that has one.
            rows_in_memory: whether all references are read, to rank what the index proposes: many probes are
                ranked faster then, and a few start sooner without. As the index's kind has it where None.

        Raises:
            ReidError: the gallery has none, or it was opened with another model.
        """
        self._gallery = gallery
        self._rows_in_memory = rows_in_memory
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
            in_memory = kind.keeps_rows if self._rows_in_memory is None else self._rows_in_memory
            exact = self._gallery.index_in(db) if in_memory else None
            pending = list(range(len(queries)))
            first = wanted = min(self._index.ntotal, kind.proposed(self._index.ntotal) * k)
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
                wanted = min(self._index.ntotal, 8 * wanted) if wanted == first else self._index.ntotal
            return found

    def _from_database(
        self, db: sqlite3.Connection, queries: Rows, proposed: npt.NDArray[np.int64], k: int
    ) -> list[list[tuple[str, float]]]:
        result = []
        for start in range(0, len(queries), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            ids, people, rows = _rows_of(db, np.unique(proposed[some][proposed[some] >= 0]), self._index.d)
            for query, near in zip(queries[some], proposed[some], strict=True):
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
            self._facts = facts
            self._index = _quick(read_index_parts(db))
            self._last = facts.last_id
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
