"""Distances in blocks of query rows, so that the query x gallery matrix never exists as a whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt

from reid.evaluation.checks import Metric, for_metric, query_and_gallery

__all__ = [
    "Distances",
    "block_height",
    "block_memory",
    "distances_between",
    "ordering",
    "squared",
]

Distances = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Gives for query rows (B,) the distances (B, G) to the whole gallery. The block is the caller's to
change.
"""

_bytes: ContextVar[int] = ContextVar("bytes of a block", default=64 * 2**20)


@contextmanager
def block_memory(size: int) -> Iterator[None]:
    """Within, a block takes at most ``size`` bytes, or one row; 64 MiB else. Figures do not depend on it."""
    before = _bytes.set(size)
    try:
        yield
    finally:
        _bytes.reset(before)


def block_height(columns: int, value_bytes: int = 4) -> int:
    """How many rows of ``columns`` values, float32 where nothing else is said, to hold at a time."""
    return max(1, _bytes.get() // (value_bytes * columns))


def distances_between(
    query: npt.ArrayLike, gallery: npt.ArrayLike, metric: Metric = "euclidean"
) -> Distances:
    """Euclidean (not squared) or cosine distances (1 - cosine) from query embeddings (Q, D) to gallery
    embeddings (G, D).

    Raises:
        ReidError: bad embeddings.
        UsageError: the metric is unknown.
    """
    first, second = query_and_gallery(query, gallery)
    first, second = for_metric(first, "query", metric), for_metric(second, "gallery", metric)

    def distances(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        block = squared(first[rows], second)
        if metric == "cosine":
            block /= 2  # between unit vectors half the squared distance is one less the cosine
            return block
        return np.sqrt(block, out=block)

    return distances


def squared(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Squared Euclidean distances (len(first), len(second)), never below zero."""
    block = first @ second.T
    block *= -2
    block += np.einsum("ij,ij->i", first, first)[:, None]
    block += np.einsum("ij,ij->i", second, second)
    return np.maximum(block, 0, out=block)


def ordering(probes: npt.NDArray[np.float32], images: npt.NDArray[np.float32]) -> Distances:
    """Values that order each row as the Euclidean distance does, at the least cost: half its square less half
    the probe's norm.

    Every call writes over the block of the call before. Equal images have equal values.
    """
    half_norms = np.einsum("ij,ij->i", images, images) / 2
    copies, originals = _equal_rows(images)
    buffer = np.empty((block_height(len(images)), len(images)), dtype=np.float32)

    def values(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        block = np.matmul(probes[rows], images.T, out=buffer[: len(rows)])
        np.subtract(half_norms, block, out=block)
        if len(copies):
            # A matrix product may round equal columns differently by where they stand; equal embeddings must
            # tie.
            block[:, copies] = block[:, originals]
        return block

    return values


def _equal_rows(images: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows that repeat an earlier row, and the first row that each repeats."""
    seen: dict[int, int] = {}
    pairs = []
    for row, values in enumerate(images):
        first = seen.setdefault(hash(values.tobytes()), row)
        if first != row and np.array_equal(images[first], values):
            pairs.append((row, first))
    copies, originals = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    return copies, originals
