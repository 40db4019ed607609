"""The search index: the references of one version of a gallery in memory, searched exhaustively by FAISS. Never the truth."""

from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["ReferenceIndex"]

_GATHER_BYTES = 64 * 2**20


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
    def people_count(self) -> int:
        """How many different people have a row."""
        return len(np.unique(self.people))

    def search(self, queries: npt.NDArray[np.float32], k: int) -> list[list[tuple[str, float]]]:
        """The ``k`` nearest different people of each query, with the Euclidean distance of each one's nearest reference.

        FAISS proposes rows; their distances are then computed anew from differences, because its expanded form loses half of the
        digits near 0. A query whose rows belong to too few people is asked again with more rows.
        """
        found: list[list[tuple[str, float]]] = [[] for _ in queries]
        if not len(self.embeddings):
            return found
        distinct = min(k, self.people_count)
        pending = np.arange(len(queries))
        rows_wanted = min(len(self.embeddings), 2 * k)
        while pending.size:
            _, rows = faiss.knn(queries[pending], self.embeddings, rows_wanted, faiss.METRIC_L2)
            distances = self._distances(queries[pending], rows)
            for query, row, distance in zip(pending, rows, distances, strict=True):
                found[query] = self._first_of_each(row, distance, distinct)
            pending = pending[[len(found[query]) < distinct for query in pending]]
            rows_wanted = min(len(self.embeddings), 4 * rows_wanted)
        return found

    def _distances(self, queries: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        distances = np.empty(rows.shape, np.float32)
        step = max(1, _GATHER_BYTES // max(1, 4 * rows.shape[1] * queries.shape[1]))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            difference = self.embeddings[rows[part]] - queries[part, None]
            distances[part] = np.sqrt(np.einsum("qrd,qrd->qr", difference, difference))
        return distances

    def _first_of_each(self, rows: npt.NDArray[np.int64], distances: npt.NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        nearest: dict[int, float] = {}
        for position in np.argsort(distances, kind="stable"):
            person = int(self.people[rows[position]])
            if person not in nearest:
                nearest[person] = float(distances[position])
                if len(nearest) == k:
                    break
        return [(self.names[person], distance) for person, distance in nearest.items()]
