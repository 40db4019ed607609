"""Provisional names for people whom the gallery does not know: the same stranger has one name over all cameras of a job."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["group_strangers"]


def group_strangers(
    embeddings: npt.NDArray[np.float32], cameras: Sequence[str], spans: npt.NDArray[np.float64], same_distance: float
) -> list[int]:
    """Group N sightings of unknown people, in their order: a number from 1 for each.

    Every sighting joins the group whose mean embedding is nearest, if that is within ``same_distance`` and the group was not
    seen by the same camera at the same time; otherwise it begins a new group.

    Args:
        embeddings: (N, D) of norm 1.
        cameras: the camera of each.
        spans: (N, 2) start and end in seconds on the camera's clock.
        same_distance: Euclidean, between embeddings of norm 1.
    """
    sums: list[npt.NDArray[np.float64]] = []
    seen: list[list[int]] = []
    numbers: list[int] = []
    for index, embedding in enumerate(embeddings.astype(np.float64)):
        best = _nearest(embedding, sums, same_distance, [_elsewhere(index, group, cameras, spans) for group in seen])
        if best is None:
            sums.append(np.zeros_like(embedding))
            seen.append([])
            best = len(sums) - 1
        sums[best] += embedding
        seen[best].append(index)
        numbers.append(best + 1)
    return numbers


def _nearest(
    embedding: npt.NDArray[np.float64], sums: list[npt.NDArray[np.float64]], same_distance: float, allowed: list[bool]
) -> int | None:
    if not any(allowed):
        return None
    means = np.asarray(sums)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    distance = np.where(allowed, np.linalg.norm(means - embedding, axis=1), np.inf)
    best = int(distance.argmin())
    return best if distance[best] <= same_distance else None


def _elsewhere(index: int, group: list[int], cameras: Sequence[str], spans: npt.NDArray[np.float64]) -> bool:
    start, end = spans[index]
    return not any(cameras[one] == cameras[index] and spans[one, 0] <= end and start <= spans[one, 1] for one in group)
