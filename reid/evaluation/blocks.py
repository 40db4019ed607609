"""Distances in blocks of query rows, so that the query x gallery matrix never exists as a whole."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from reid.evaluation.checks import Metric, as_embeddings, for_metric, same_width

__all__ = ["Distances", "block_height", "distances_between", "ordering", "squared"]

Distances = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Gives for query rows (B,) the distances (B, G) to the whole gallery. The block is the caller's to
change.
"""

_BLOCK_BYTES = 64 * 2**20


def block_height(columns: int) -> int:
    """How many rows of ``columns`` float32 values to hold at a time."""
    return max(1, _BLOCK_BYTES // (4 * columns))


def distances_between(
    query: npt.ArrayLike, gallery: npt.ArrayLike, metric: Metric = "euclidean"
) -> Distances:
    """Euclidean (not squared) or cosine distances (1 - cosine) from query embeddings (Q, D) to gallery
    embeddings (G, D).

    Raises:
        ReidError: bad embeddings.
        UsageError: the metric is unknown.
    """
    first, second = as_embeddings(query, "query"), as_embeddings(gallery, "gallery")
    same_width(first, "query", second, "gallery")
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
