"""Pairs of images to verify: all genuine ones across cameras, and a fair draw of impostors."""

from typing import Any

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.checks import (
    Labels,
    Metric,
    for_metric,
    is_junk,
    query_and_gallery,
    sides_of,
)

__all__ = ["PairIndex", "draw_pairs", "pair_distances", "squared_distances_of_pairs"]

PairIndex = npt.NDArray[np.int64]
"""(N, 2): a query row and a gallery row for each pair."""

_STEP = 2**11  # pairs whose rows are held at one time


def draw_pairs(
    query_ids: Labels,
    query_cams: Labels,
    gallery_ids: Labels,
    gallery_cams: Labels,
    *,
    genuine: int = 200_000,
    impostors: int = 1_000_000,
    seed: int = 0,
) -> tuple[PairIndex, npt.NDArray[np.bool_]]:
    """Choose pairs of a query and a gallery image from different cameras; junk (identity -1) is in no pair.

    Args:
        query_ids: (Q,).
        query_cams: (Q,).
        gallery_ids: (G,).
        gallery_cams: (G,).
        genuine: at most so many pairs of one identity; all of them where there are fewer, else a random draw.
        impostors: so many random pairs of two identities, without repeats, or fewer where there are not
            enough.
        seed: of the draws.

    Returns:
        pairs (N, 2) sorted by query and gallery row; same (N,), true for genuine pairs.

    Raises:
        ReidError: labels have different lengths or kinds, or there are no genuine or no impostor pairs.
        UsageError: fewer than one pair of a kind is asked for.
    """
    if genuine < 1 or impostors < 1:
        raise UsageError(f"{genuine} genuine and {impostors} impostor pairs: want at least 1 of each")
    sides = sides_of(query_ids, query_cams, gallery_ids, gallery_cams)
    ids, cams = sides.ids, sides.cams
    rows = np.flatnonzero(~is_junk(sides.query_ids))
    columns = np.flatnonzero(~is_junk(sides.gallery_ids))
    rng = np.random.default_rng(seed)
    matches = [
        np.stack([np.full(len(hits), row), hits], axis=1)
        for row in rows
        if len(hits := columns[(ids[1][columns] == ids[0][row]) & (cams[1][columns] != cams[0][row])])
    ]
    if not matches:
        raise ReidError(
            f"no query shares an identity with a gallery image of another camera ({len(rows)} queries, "
            f"{len(columns)} images)"
        )
    positive = np.concatenate(matches)
    if len(positive) > genuine:
        positive = positive[rng.choice(len(positive), genuine, replace=False)]
    # Four draws for each wanted pair leave room for repeats, for pairs of one identity and for pairs of one
    # camera.
    everything, count = len(rows) * len(columns), 4 * impostors
    drawn = rng.permutation(
        everything if everything <= count else np.unique(rng.integers(everything, size=count))
    )
    negative = np.stack([rows[drawn // len(columns)], columns[drawn % len(columns)]], axis=1)
    apart = (ids[0][negative[:, 0]] != ids[1][negative[:, 1]]) & (
        cams[0][negative[:, 0]] != cams[1][negative[:, 1]]
    )
    negative = negative[apart][:impostors]
    if not len(negative):
        raise ReidError(
            f"no two images of different people and cameras among {len(rows)} queries and "
            f"{len(columns)} gallery images"
        )
    pairs = np.concatenate([positive, negative]).astype(np.int64)
    same = np.arange(len(pairs)) < len(positive)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], same[order]


def pair_distances(
    query: npt.ArrayLike, gallery: npt.ArrayLike, pairs: PairIndex, metric: Metric = "euclidean"
) -> npt.NDArray[np.float64]:
    """Distances (N,) of the pairs: Euclidean, not squared, or one less the cosine.

    Raises:
        ReidError: bad embeddings.
        UsageError: the metric is unknown.
    """
    first, second = query_and_gallery(query, gallery)
    first, second = for_metric(first, "query", metric), for_metric(second, "gallery", metric)
    squared = squared_distances_of_pairs(first, second, pairs)
    return squared / 2 if metric == "cosine" else np.sqrt(squared)


def squared_distances_of_pairs(
    first: npt.NDArray[Any], second: npt.NDArray[Any], pairs: PairIndex
) -> npt.NDArray[np.float64]:
    """Squared Euclidean distances (N,) between rows of (Q, D) and of (G, D), unchecked, in memory that does
    not grow with N times D.
    """
    squared = np.empty(len(pairs))
    for start in range(0, len(pairs), _STEP):
        part = pairs[start : start + _STEP]
        difference = first[part[:, 0]] - second[part[:, 1]]
        squared[start : start + _STEP] = np.einsum("ij,ij->i", difference, difference)
    return squared
