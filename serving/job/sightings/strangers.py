"""Provisional names for people whom the gallery does not know: the same stranger has one name over all
cameras of a job, and over earlier jobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SeenStrangers", "group_strangers"]


@dataclass(frozen=True, eq=False)
class SeenStrangers:
    """Sightings of unknown people in earlier jobs."""

    embeddings: npt.NDArray[np.float32]  # (N, D) of norm 1
    cameras: tuple[str, ...]
    # (N, 2) start and end, seconds since 1970; NaN where the camera had no clock
    spans: npt.NDArray[np.float64]
    numbers: tuple[int, ...]  # the stranger each was taken for, from 1


def group_strangers(
    embeddings: npt.NDArray[np.float32],
    cameras: Sequence[str],
    spans: npt.NDArray[np.float64],
    same_distance: float,
    travel_s: Mapping[frozenset[str], float] | None = None,
    earlier: SeenStrangers | None = None,
) -> list[int]:
    """Group N sightings of unknown people, in their order: a number from 1 for each.

    Every sighting joins the group whose mean embedding is nearest, if that is within ``same_distance`` and
    the person could have been there: nobody is twice in one camera at one time, or in another camera sooner
    than the way takes. Otherwise it begins a new group.

    Args:
        embeddings: (N, D) of norm 1.
        cameras: the camera of each.
        spans: (N, 2) start and end in seconds on one clock; NaN where it is not known, which rules out
            nothing.
        same_distance: Euclidean, between embeddings of norm 1.
        travel_s: the least seconds between leaving one of two cameras and coming to the other.
        earlier: sightings that have their number already; new groups are numbered on from theirs.
    """
    old = 0 if earlier is None else len(earlier.numbers)
    vectors = embeddings.astype(np.float64)
    places = list(cameras)
    times = spans.reshape(-1, 2)
    if earlier is not None and old:
        width = vectors.shape[1] if len(vectors) else earlier.embeddings.shape[1]
        vectors = np.concatenate([earlier.embeddings.astype(np.float64), vectors.reshape(-1, width)])
        places = [*earlier.cameras, *places]
        times = np.concatenate([earlier.spans, times])
    groups: dict[int, list[int]] = {}
    sums: dict[int, npt.NDArray[np.float64]] = {}
    numbers: list[int] = []
    for index, vector in enumerate(vectors):
        if earlier is not None and index < old:
            number = earlier.numbers[index]
        else:
            allowed = [
                one for one, group in groups.items() if _possible(index, group, places, times, travel_s or {})
            ]
            near = _nearest(vector, [sums[one] for one in allowed], same_distance)
            number = max(groups, default=0) + 1 if near is None else allowed[near]
            numbers.append(number)
        groups.setdefault(number, []).append(index)
        sums[number] = sums.get(number, np.zeros_like(vector)) + vector
    return numbers


def _nearest(
    embedding: npt.NDArray[np.float64], sums: list[npt.NDArray[np.float64]], same_distance: float
) -> int | None:
    if not sums:
        return None
    means = np.asarray(sums)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    distance = np.linalg.norm(means - embedding, axis=1)
    best = int(distance.argmin())
    return best if distance[best] <= same_distance else None


def _possible(
    index: int,
    group: Sequence[int],
    cameras: Sequence[str],
    spans: npt.NDArray[np.float64],
    travel_s: Mapping[frozenset[str], float],
) -> bool:
    """Whether one person can be in sighting ``index`` and in all of a group. Comparing with NaN is False: no
    clock forbids nothing.
    """
    start, end = spans[index]
    for one in group:
        apart_s = max(start - spans[one, 1], spans[one, 0] - end)
        if cameras[one] == cameras[index]:
            if apart_s <= 0:
                return False
        elif apart_s < travel_s.get(frozenset((cameras[one], cameras[index])), -np.inf):
            return False
    return True
