"""The search index: the references of one version of a gallery in memory, searched exhaustively by FAISS. Never the truth."""

from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["ReferenceIndex"]

_ROWS_A_PERSON = 32  # proposed at first for each person wanted; more hardly cost FAISS time, another pass costs all of it
_FAISS_ERROR_SQ = 1e-5  # of squared distances between unit rows in float32


@dataclass(frozen=True, eq=False)
class ReferenceIndex:
    """References of one gallery version. Arrays are read-only."""

    version: int
    last_id: int  # of the newest reference inside
    embeddings: npt.NDArray[np.float32]  # (N, D)
    people: npt.NDArray[np.int64]  # (N,) whose reference each row is
    names: dict[int, str]

    @cached_property
    def identities(self) -> npt.NDArray[np.str_]:
        """(N,) the name behind each row."""
        keys, inverse = np.unique(self.people, return_inverse=True)
        return np.asarray([self.names[int(key)] for key in keys], dtype=np.str_)[inverse] if len(keys) else np.empty(0, np.str_)

    @cached_property
    def _references_each(self) -> npt.NDArray[np.int64]:
        """(P,) how many rows each person has."""
        return np.unique(self.people, return_counts=True)[1]

    def search(self, queries: npt.NDArray[np.float32], k: int) -> list[list[tuple[str, float]]]:
        """The ``k`` nearest different people of each query, with the Euclidean distance of each one's nearest reference.

        FAISS proposes rows; a query whose rows belong to too few people is asked again with more of them.
        """
        found: list[list[tuple[str, float]]] = [[] for _ in queries]
        if not len(self.embeddings):
            return found
        k = min(k, len(self._references_each))
        pending = list(range(len(queries)))
        rows_wanted = min(len(self.embeddings), k * min(int(self._references_each.max()), _ROWS_A_PERSON))
        while pending:
            squared, rows = faiss.knn(queries[pending], self.embeddings, rows_wanted, faiss.METRIC_L2)
            for query, near, distance_sq in zip(pending, rows, squared, strict=True):
                found[query] = self._nearest_people(queries[query], near, distance_sq, k)
            if rows_wanted == len(self.embeddings):
                break  # all rows were seen: a damaged row that is no number is near to nobody
            pending = [query for query in pending if len(found[query]) < k]
            rows_wanted = min(len(self.embeddings), 8 * rows_wanted)
        return found

    def _nearest_people(
        self, query: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], distance_sq: npt.NDArray[np.float32], k: int
    ) -> list[tuple[str, float]]:
        """The ``k`` nearest people of rows in FAISS's order; fewer where the rows belong to fewer.

        Distances are computed anew from differences: FAISS's expanded form loses half of the digits near 0, so rows that it puts
        within its error behind the last person are looked at too.
        """
        rows, distance_sq = rows[rows >= 0], distance_sq[rows >= 0]
        first_rows = np.sort(np.unique(self.people[rows], return_index=True)[1])
        if len(first_rows) > k:
            rows = rows[distance_sq <= distance_sq[first_rows[k - 1]] + _FAISS_ERROR_SQ]
        distances = np.linalg.norm(self.embeddings[rows] - query, axis=1)
        nearest: dict[int, float] = {}
        for position in np.argsort(distances, kind="stable"):
            nearest.setdefault(int(self.people[rows[position]]), float(distances[position]))
        return [(self.names[person], distance) for person, distance in list(nearest.items())[:k]]
