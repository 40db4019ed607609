"""The search index: the references of one version of a gallery in memory, searched exhaustively by FAISS.
Never the truth.
"""

from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["ReferenceIndex", "nearest_people"]

# proposed at first for each person wanted: a longer list costs FAISS almost nothing, a second search costs as
# much as the first
_ROWS_A_PERSON = 32
_ROWS_BEHIND = 16  # proposed beyond those, to see that the next one is farther
_FAISS_ERROR_SQ = 1e-5  # of squared distances between unit rows from their products in float32


@dataclass(frozen=True, eq=False)
class ReferenceIndex:
    """References of one gallery version. Arrays are read-only."""

    version: int
    ids: npt.NDArray[np.int64]  # (N,) of the references in the database, rising
    embeddings: npt.NDArray[np.float32]  # (N, D)
    people: npt.NDArray[np.int64]  # (N,) whose reference each row is
    names: dict[int, str]
    norm_error: float = 0.0  # how far the squared norm of a row is from 1 at most

    @property
    def last_id(self) -> int:
        """Of the newest reference inside; 0 where there is none."""
        return int(self.ids[-1]) if len(self.ids) else 0

    @cached_property
    def identities(self) -> npt.NDArray[np.str_]:
        """(N,) the name behind each row."""
        keys, inverse = np.unique(self.people, return_inverse=True)
        return (
            np.asarray([self.names[int(key)] for key in keys], dtype=np.str_)[inverse]
            if len(keys)
            else np.empty(0, np.str_)
        )

    @cached_property
    def row_of(self) -> npt.NDArray[np.int32]:
        """(last_id + 1,) the row of a reference's id; -1 where there is none."""
        rows = np.full(self.last_id + 1, -1, np.int32)
        rows[self.ids] = np.arange(len(self.ids), dtype=np.int32)
        return rows

    @cached_property
    def _references_each(self) -> npt.NDArray[np.int64]:
        """(P,) how many rows each person has."""
        return np.unique(self.people, return_counts=True)[1]

    def search(self, queries: npt.NDArray[np.float32], k: int) -> list[list[tuple[str, float]]]:
        """The ``k`` nearest different people of each query, with the Euclidean distance of each one's nearest
        reference.

        FAISS proposes rows by their product with the query, which spares it the norms of all rows; a query
        whose rows belong to too few people, or might not be the nearest, is asked again with more of them.
        """
        found: list[list[tuple[str, float]]] = [[] for _ in queries]
        if not len(self.embeddings):
            return found
        k = min(k, len(self._references_each))
        pending = list(range(len(queries)))
        rows_wanted = min(
            len(self.embeddings), k * min(int(self._references_each.max()), _ROWS_A_PERSON) + _ROWS_BEHIND
        )
        while pending:
            products, rows = faiss.knn(
                queries[pending], self.embeddings, rows_wanted, faiss.METRIC_INNER_PRODUCT
            )
            sure = []
            for query, near, product in zip(pending, rows, products, strict=True):
                found[query], enough = self.nearest(queries[query], near, product, k)
                if enough:
                    sure.append(query)
            if rows_wanted == len(self.embeddings):
                break  # all rows were seen: a damaged row that is no number is near to nobody
            pending = sorted(set(pending) - set(sure))
            rows_wanted = min(len(self.embeddings), 8 * rows_wanted)
        return found

    def nearest(
        self,
        query: npt.NDArray[np.float32],
        rows: npt.NDArray[np.int64],
        products: npt.NDArray[np.float32],
        k: int,
    ) -> tuple[list[tuple[str, float]], bool]:
        """The ``k`` nearest people of rows in order of falling product, and whether no other row can be
        nearer than theirs.

        Distances are computed anew from differences: products lose half of the digits near 0, so rows that
        they put within their error behind the last person are looked at too.
        """
        rows, squared = rows[rows >= 0], 2 - 2 * products[rows >= 0]
        first_rows = np.sort(np.unique(self.people[rows], return_index=True)[1])
        limit = (
            squared[first_rows[k - 1]] + _FAISS_ERROR_SQ + 2 * self.norm_error
            if len(first_rows) >= k
            else np.inf
        )
        enough = bool(len(rows) and squared[-1] > limit)
        if enough:
            rows = rows[squared <= limit]
        return nearest_people(
            self.people[rows], np.linalg.norm(self.embeddings[rows] - query, axis=1), self.names, k
        ), enough


def nearest_people(
    people: npt.NDArray[np.int64], distances: npt.NDArray[np.float32], names: dict[int, str], k: int
) -> list[tuple[str, float]]:
    """Of references (N,) with their people and distances: the ``k`` nearest people, each with the nearest
    distance, nearest first.
    """
    nearest: dict[int, float] = {}
    for position in np.argsort(distances, kind="stable"):
        nearest.setdefault(int(people[position]), float(distances[position]))
    return [(names[person], distance) for person, distance in list(nearest.items())[:k]]
