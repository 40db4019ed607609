"""Better ranking after the fact: k-reciprocal re-ranking, query expansion, and re-scoring of a short list.
SciPy is loaded on use.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.blocks import Distances, block_height, squared
from reid.evaluation.checks import Metric, for_metric, query_and_gallery, unit_rows

__all__ = ["expand_queries", "k_reciprocal", "rescore_short_list"]


def k_reciprocal(
    query: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: Metric = "euclidean",
) -> Distances:
    """Re-rank by k-reciprocal encoding (Zhong 2017, sections 3.2 to 3.5), for ``rank_distances``.

    As in the authors' code, distances are squared and divided by the largest of their row over query and
    gallery together. The neighbourhoods are sparse, so memory grows with the number of images times k1 times
    k2, not with its square.

    Args:
        query: (Q, D).
        gallery: (G, D).
        k1: neighbours that make a neighbourhood.
        k2: neighbourhoods averaged into one (local query expansion); 1 leaves them as they are.
        lambda_value: weight of the original distance, in 0..1; the rest is the Jaccard distance.
        metric: of the original distance; ``cosine`` means Euclidean between normalised embeddings here.

    Returns:
        Distances from query rows to the gallery, float32. They order a row; they are no distances in any
            space.

    Raises:
        ReidError: bad embeddings, or fewer than k1 + 1 images in all.
        UsageError: k1, k2 or lambda_value is out of range.
    """
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 <= lambda_value <= 1:
        raise UsageError(
            f"k1={k1}, k2={k2}, lambda_value={lambda_value}: want k1 >= 1, 1 <= k2 <= k1 + 1 and "
            "lambda_value in 0..1"
        )
    first, second = query_and_gallery(query, gallery)
    images = np.concatenate([for_metric(first, "query", metric), for_metric(second, "gallery", metric)])
    queries = len(first)
    if len(images) < k1 + 1:
        raise ReidError(
            f"{len(images)} images are too few for neighbourhoods of k1={k1}: want at least {k1 + 1}"
        )
    neighbours, farthest = _neighbours(images, k1)
    weights = _encoding(images, neighbours, farthest, k1)
    if k2 > 1:
        weights = (
            _membership(neighbours[:, :k2], np.ones((len(images), k2), dtype=np.bool_))
            @ weights
            / np.float32(k2)
        )
    own, columns = weights[:queries].tocsr(), weights[queries:].tocsc()

    def distances(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        block = squared(images[rows], images[queries:])
        block *= (np.float32(lambda_value) / farthest[rows])[:, None]
        for place, row in enumerate(rows.tolist()):
            block[place] += np.float32(1 - lambda_value) * _jaccard(own, columns, row)
        return block

    return distances


def expand_queries(
    query: npt.ArrayLike, gallery: npt.ArrayLike, *, neighbours: int = 5, alpha: float = 0.0
) -> npt.NDArray[np.float32]:
    """Replace each query by the mean of itself and its nearest gallery embeddings (Chum 2007), by cosine.

    Args:
        query: (Q, D).
        gallery: (G, D); no labels are used.
        neighbours: how many to add, at most G.
        alpha: weight of a neighbour is its cosine to that power (Radenovic 2018, section 3.4); 0 weighs all
            alike.

    Returns:
        (Q, D) float32, L2-normalised.

    Raises:
        ReidError: bad embeddings.
        UsageError: ``neighbours`` is not in 1..G or ``alpha`` is negative.
    """
    first, second = query_and_gallery(query, gallery)
    if not 1 <= neighbours <= len(second) or alpha < 0:
        raise UsageError(
            f"neighbours={neighbours}, alpha={alpha}: want 1 to {len(second)} neighbours and alpha >= 0"
        )
    first, second = unit_rows(first, "query"), unit_rows(second, "gallery")
    expanded = np.empty_like(first)
    height = block_height(len(second))
    for start in range(0, len(first), height):
        part = first[start : start + height]
        cosines = part @ second.T
        nearest = np.argpartition(cosines, -neighbours, axis=1)[:, -neighbours:]
        weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0) ** np.float32(alpha)
        expanded[start : start + height] = part + np.einsum("bk,bkd->bd", weights, second[nearest])
    return unit_rows(expanded, "expanded query")


def rescore_short_list(
    distances: Distances,
    score: Callable[[int, npt.NDArray[np.int64]], npt.NDArray[Any]],
    *,
    length: int = 100,
) -> Distances:
    """Order the nearest images of each query by a learned metric, which cannot be searched itself (Chen
    2017), and leave the rest behind.

    Args:
        distances: what finds the short list, not negative.
        score: gives for a query row and gallery rows (n,) their dissimilarities (n,) in 0..1.
        length: of the short list.

    Returns:
        Dissimilarities for the short list, and 2 + distance behind it.

    Raises:
        UsageError: ``length`` is below 1.
        ReidError: (when called) a score is not in 0..1.
    """
    if length < 1:
        raise UsageError(f"a short list of {length}: want at least 1")

    def rescored(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        block = distances(rows)
        size = min(length, block.shape[1])
        nearest = np.argpartition(block, size - 1, axis=1)[:, :size]
        block += 2
        for line, row, columns in zip(block, rows.tolist(), np.sort(nearest, axis=1), strict=True):
            scores = np.asarray(score(row, columns), dtype=np.float32)
            if scores.shape != columns.shape or not ((scores >= 0) & (scores <= 1)).all():
                raise ReidError(
                    f"the learned metric gives query row {row} scores of shape {scores.shape} or outside 0..1"
                )
            line[columns] = scores
        return block

    return rescored


def _neighbours(
    images: npt.NDArray[np.float32], k1: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The k1 + 1 nearest of every image (N, k1 + 1), itself among them, and its largest squared distance
    (N,).
    """
    nearest = np.empty((len(images), k1 + 1), dtype=np.int64)
    farthest = np.empty(len(images), dtype=np.float32)
    height = block_height(len(images))
    for start in range(0, len(images), height):
        block = squared(images[start : start + height], images)
        rows = np.arange(len(block))
        block[rows, start + rows] = 0  # rounding must not put another image before the image itself
        candidates = np.argpartition(block, k1, axis=1)[:, : k1 + 1]
        order = np.argsort(np.take_along_axis(block, candidates, axis=1), axis=1, kind="stable")
        nearest[start : start + height] = np.take_along_axis(candidates, order, axis=1)
        farthest[start : start + height] = block.max(axis=1)
    if not farthest.all():
        raise ReidError(f"all {len(images)} embeddings are equal: there are no neighbourhoods to re-rank by")
    return nearest, farthest


def _encoding(
    images: npt.NDArray[np.float32],
    neighbours: npt.NDArray[np.int64],
    farthest: npt.NDArray[np.float32],
    k1: int,
) -> Any:
    """The weighted k-reciprocal neighbourhoods as a sparse matrix (N, N) whose rows sum to 1."""
    from scipy import sparse

    half = neighbours[:, : int(np.around(k1 / 2)) + 1]
    wide, narrow = _membership(neighbours, _reciprocal(neighbours)), _membership(half, _reciprocal(half))
    # A candidate brings its own neighbourhood along when more than two thirds of it are already inside.
    overlap = wide.multiply(wide @ narrow.T).tocoo()
    sizes = np.asarray(narrow.sum(axis=1)).ravel()
    trusted = overlap.data > np.float32(2 / 3) * sizes[overlap.col]
    chosen = sparse.csr_matrix(
        (overlap.data[trusted] > 0, (overlap.row[trusted], overlap.col[trusted])),
        shape=overlap.shape,
        dtype=np.float32,
    )
    expanded = (wide + chosen @ narrow).tocoo()
    values = np.empty(expanded.nnz, dtype=np.float32)
    step = block_height(images.shape[1], 8)
    for start in range(0, expanded.nnz, step):
        rows, columns = expanded.row[start : start + step], expanded.col[start : start + step]
        difference = images[rows] - images[columns]
        values[start : start + step] = np.exp(-np.einsum("ij,ij->i", difference, difference) / farthest[rows])
    totals = np.bincount(expanded.row, weights=values, minlength=len(images))
    values /= totals[expanded.row].astype(np.float32)
    return sparse.csr_matrix((values, (expanded.row, expanded.col)), shape=expanded.shape)


def _reciprocal(neighbours: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which neighbours (N, k) have the image among theirs."""
    result = np.empty(neighbours.shape, dtype=np.bool_)
    step = block_height(neighbours.shape[1] ** 2, 8)
    for start in range(0, len(neighbours), step):
        part = neighbours[start : start + step]
        own = np.arange(start, start + len(part))[:, None, None]
        result[start : start + step] = (neighbours[part] == own).any(axis=2)
    return result


def _membership(columns: npt.NDArray[np.int64], members: npt.NDArray[np.bool_]) -> Any:
    """A sparse matrix (N, N) of ones at the ``columns`` (N, k) that are ``members`` (N, k)."""
    from scipy import sparse

    rows = np.nonzero(members)[0]
    return sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.float32), (rows, columns[members])), shape=(len(columns), len(columns))
    )


def _jaccard(own: Any, columns: Any, row: int) -> npt.NDArray[np.float32]:
    """Jaccard distances (G,) of one query's neighbourhood to those of the gallery (Zhong 2017, equation
    10).
    """
    begin, end = own.indptr[row], own.indptr[row + 1]
    shared, weight = own.indices[begin:end], own.data[begin:end]
    starts, lengths = columns.indptr[shared], np.diff(columns.indptr)[shared]
    offsets = np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    least = np.minimum(columns.data[offsets], np.repeat(weight, lengths))
    overlap = np.bincount(columns.indices[offsets], weights=least, minlength=columns.shape[0])
    return (1 - overlap / (2 - overlap)).astype(np.float32)
