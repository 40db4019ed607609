"""A gallery's compact index is built: learned from some references, filled with all, and measured against
exact search. In memory that does not grow with the references but by the index itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from serving.gallery.database.queries import active_references, read_rows
from serving.gallery.index.parts import drop_index, write_index_parts

if TYPE_CHECKING:
    from serving.gallery.gallery import Gallery

__all__ = ["AUTO", "KINDS", "LEAST", "RECALL", "BuiltIndex", "build_index", "remove_index"]

Rows = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
AUTO = "auto"
RECALL = 0.99  # what the approximate index must reach
_PEOPLE = 10  # that recall counts
_MEASURED = 256  # references that recall is measured with
_NEAREST = 512  # references of each that are kept to tell who the nearest people are
_TRAINED = 80_000  # references that lists and codes are learned from
_ROWS_A_LIST = 500
_MAX_LISTS = 2000  # more cost more to learn than they save
# References up to which the least is enough. At two million 60 a person are enough; at ten million they find
# 98.2 % of the nearest people in all lists, 120 find 99.5 % and 240 find 99.9 %.
_CROWDED = 3_000_000
_WIDTH = 256  # numbers a row is turned into: in embeddings, the rest is nearly nothing
LEAST = 512  # references: fewer are too few to learn codes from, and exact search of them takes no time


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
    least: int  # references that are proposed for each person wanted
    keeps_rows: bool  # distances from all references in memory, as in exact search, and not from the database

    def proposed(self, references: int) -> int:
        """How many of so many references to propose for each person wanted. What a code rounds away is worth
        so many places in the order as references lie that near: ten million want more than a million.
        """
        return self.least * max(_CROWDED, references) // _CROWDED


KINDS = {"ivf": _Kind(_ivf, 60, True), "fp16": _Kind(_fp16, 10, False), "pq": _Kind(_pq, 40, False)}


def _divisor(dim: int, numbers: int) -> int:
    """How many parts a row is coded in, about ``numbers`` numbers each; parts must be of one length."""
    return next(parts for parts in range(max(1, dim // numbers), 0, -1) if dim % parts == 0)


def build_index(gallery: "Gallery", kind: str = AUTO) -> BuiltIndex:
    """Build, measure and store a gallery's compact index.

    ``ivf`` looks at a part of the references, as large a part as it takes to find 99 % of the nearest people;
    it is fast. ``fp16`` and ``pq`` look at all of them, in a half and about a thirtieth of the memory.
    ``auto`` takes the first of ``ivf`` and ``pq`` that was measured to find 99 %, else ``fp16``.

    Raises:
        UsageError: the kind is unknown.
        ReidError: the gallery holds too few references, or ``ivf`` does not reach that recall.
    """
    if kind not in (*KINDS, AUTO):
        raise UsageError(f"index {kind!r} is unknown: want one of {AUTO}, {', '.join(KINDS)}")
    with gallery.store.reading() as db:
        gallery.check_model(db)
        version = gallery.store.meta(db, "version") or 0
        ids = active_references(db)
        if len(ids) < LEAST:
            raise ReidError(
                f"gallery {gallery.path} holds {len(ids)} references, an index wants {LEAST} or more: "
                "search it without"
            )
        rng = np.random.default_rng(0)
        chosen, asked = (
            np.sort(rng.choice(len(ids), min(len(ids), most), replace=False))
            for most in (_TRAINED, _MEASURED)
        )
        some = _Chosen(ids[chosen], ids[asked])
        for part in read_rows(db):
            some.take(*part)
        truth = _Truth(np.concatenate(some.probes))
        for name in ("ivf", "pq", "fp16") if kind == AUTO else (kind,):
            index = KINDS[name].learn(np.concatenate(some.trained), float(len(ids)))
            for found, people, rows in read_rows(db):
                index.add_with_ids(rows, found)
                truth.take(found, people, rows)
            recall = _tuned(index, truth) if name == "ivf" else truth.recall(index, KINDS[name])
            if recall >= RECALL:
                break
    if name == "ivf" and recall < RECALL:
        raise ReidError(
            f"the index finds {recall:.3f} of the nearest people, {RECALL} are wanted: build fp16 instead"
        )
    with gallery.store.writing() as change:
        if change.version - 1 != version:
            raise ReidError(f"gallery {gallery.path} was changed while its index was built: build it again")
        size = write_index_parts(change.db, name, index, int(ids[-1]), recall)
        change.rewrites = True
        change.log("index", "", f"{name}, {len(ids)} references, recall {recall:.4f}")
    return BuiltIndex(name, len(ids), recall, size, change.version)


def remove_index(gallery: "Gallery") -> bool:
    """Drop the stored index; returns whether there was one."""
    with gallery.store.writing() as change:
        if not drop_index(change.db):
            return False
        change.rewrites = change.leaves_bytes = True
        change.log("index", "", "dropped")
    gallery.store.purge()
    return True


class _Chosen:
    """The rows of some references, as they pass by: those to learn from, and those to measure with."""

    def __init__(self, trained: Ids, probes: Ids) -> None:
        self._wanted = (trained, probes)
        self.trained: list[Rows] = []
        self.probes: list[Rows] = []

    def take(self, ids: Ids, _: Ids, rows: Rows) -> None:
        for wanted, kept in zip(self._wanted, (self.trained, self.probes), strict=True):
            kept.append(rows[np.isin(ids, wanted, assume_unique=True)])


class _Truth:
    """The nearest references of each probe (Q, D), of all that pass by."""

    def __init__(self, probes: Rows) -> None:
        self.probes = probes
        self.ids = np.full((len(probes), 0), -1, np.int64)
        self._people = np.zeros((len(probes), 0), np.int64)
        self._near = np.zeros((len(probes), 0), np.float32)
        self._whole = False

    def take(self, ids: Ids, people: Ids, rows: Rows) -> None:
        """References (N,), whose they are, and their rows (N, D). What was seen before is passed over."""
        if self._whole:
            return
        near = self.probes @ rows.T
        most = min(_NEAREST, len(ids))
        best = np.argpartition(-near, most - 1, axis=1)[:, :most]
        near = np.concatenate([self._near, np.take_along_axis(near, best, axis=1)], axis=1)
        all_ids = np.concatenate([self.ids, ids[best]], axis=1)
        whose = np.concatenate([self._people, people[best]], axis=1)
        order = np.argsort(-near, axis=1, kind="stable")[:, :_NEAREST]
        self._near, self.ids, self._people = (
            np.take_along_axis(part, order, axis=1) for part in (near, all_ids, whose)
        )

    def recall(self, index: Any, kind: _Kind) -> float:
        """Share of the truly nearest people whom an index proposes, by one of the nearest references."""
        self._whole = True
        _, found = index.search(self.probes, min(index.ntotal, kind.proposed(index.ntotal) * _PEOPLE))
        shares = []
        for ids, people, near in zip(self.ids, self._people, found, strict=True):
            there = np.isin(ids, near)
            true, seen = (_first(one) for one in (people, people[there]))
            shares.append(len(true & seen) / len(true))
        return float(np.mean(shares))


def _first(people: Ids) -> set[int]:
    """The first different people of a list, in order of their first places."""
    return set(list(dict.fromkeys(people.tolist()))[:_PEOPLE])


def _tuned(index: Any, truth: _Truth) -> float:
    """Search more lists until the recall is reached; returns it."""
    import faiss

    lists = faiss.extract_index_ivf(index)
    recalls: dict[int, float] = {}

    def enough(probed: int) -> bool:
        lists.nprobe = probed
        recalls[probed] = truth.recall(index, KINDS["ivf"])
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
