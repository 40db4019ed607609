"""Retrieval by continuous labels, such as poses, where there is no right or wrong identity (Kim 2019, section
4).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.blocks import block_height, squared
from reid.evaluation.checks import query_and_gallery

__all__ = ["ContinuousReport", "score_continuous"]


@dataclass(frozen=True)
class ContinuousReport:
    """Means over the queries for the ``k`` nearest gallery images."""

    mean_label_distance: float  # Euclidean, in the labels' unit; smaller is better
    # the same for the k images whose labels are nearest: no ranking can go below it
    best_label_distance: float
    ndcg: float  # in 0..1; gain 1 / (1 + label distance), discount log2(1 + rank)
    k: int
    queries: int


def score_continuous(
    query: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    *,
    k: int = 10,
) -> ContinuousReport:
    """How near in label the nearest embeddings are.

    Args:
        query: (Q, D).
        query_labels: (Q, L) or (Q,) real numbers.
        gallery: (G, D); must not hold the queries themselves.
        gallery_labels: (G, L) or (G,).
        k: how many of the nearest count, at most G.

    Raises:
        ReidError: bad embeddings or labels, or labels of another length.
        UsageError: k is not in 1..G.
    """
    probes, images = query_and_gallery(query, gallery)
    ours, theirs = (
        _labels(query_labels, "query", len(probes)),
        _labels(gallery_labels, "gallery", len(images)),
    )
    if ours.shape[1] != theirs.shape[1]:
        raise ReidError(
            f"query labels have {ours.shape[1]} values and gallery labels {theirs.shape[1]}: label "
            "both the same way"
        )
    if not 1 <= k <= len(images):
        raise UsageError(f"k={k}: want 1 to {len(images)}, the size of the gallery")
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = np.empty(len(probes))
    best = np.empty(len(probes))
    ndcg = np.empty(len(probes))
    height = block_height(2 * len(images))
    for start in range(0, len(probes), height):
        part = slice(start, start + height)
        label_distances = _distances(ours[part], theirs)
        nearest = np.argsort(squared(probes[part], images), axis=1, kind="stable")[:, :k]
        ranked = np.take_along_axis(label_distances, nearest, axis=1)
        ideal = np.sort(np.partition(label_distances, k - 1, axis=1)[:, :k], axis=1)
        found[part], best[part] = ranked.mean(axis=1), ideal.mean(axis=1)
        ndcg[part] = ((1 / (1 + ranked)) @ discount) / ((1 / (1 + ideal)) @ discount)
    return ContinuousReport(float(found.mean()), float(best.mean()), float(ndcg.mean()), k, len(probes))


def _labels(values: npt.ArrayLike, name: str, length: int) -> npt.NDArray[np.float64]:
    labels = np.asarray(values, dtype=np.float64)
    labels = labels[:, None] if labels.ndim == 1 else labels
    if labels.ndim != 2 or len(labels) != length:
        raise ReidError(
            f"{name} labels have shape {labels.shape} but there are {length} embeddings: give one "
            "label vector per embedding"
        )
    bad = np.flatnonzero(~np.isfinite(labels).all(axis=1))
    if len(bad):
        raise ReidError(
            f"{name} labels hold NaN or infinity in {len(bad)} of {length} rows (first: {bad[0]}): "
            "correct them"
        )
    return labels


def _distances(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result = np.zeros((len(first), len(second)))
    for column in range(first.shape[1]):
        result += np.square(first[:, column, None] - second[None, :, column])
    return np.sqrt(result)
