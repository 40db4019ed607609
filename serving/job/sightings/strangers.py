"""Provisional names for people whom the gallery does not know: the same stranger has one name over all
cameras of a job, and over earlier jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serving.job.sightings.evidence import IMPOSSIBLE, Evidence

_LAST = 5  # sightings of a group that may tell where it was
Floats = npt.NDArray[np.float64]

__all__ = ["SeenStrangers", "group_strangers"]


@dataclass(frozen=True, eq=False)
class SeenStrangers:
    """Sightings of unknown people in earlier jobs."""

    embeddings: npt.NDArray[np.float32]  # (N, D) of norm 1
    cameras: tuple[str, ...]
    # (N, 2) start and end, seconds since 1970; NaN where the camera had no clock
    spans: Floats
    numbers: tuple[int, ...]  # the stranger each was taken for, from 1


@dataclass
class _Group:
    """The sightings of one stranger, by their indices, and the sum of their embeddings."""

    sightings: list[int]
    total: Floats


def group_strangers(
    embeddings: npt.NDArray[np.float32],
    evidence: Evidence,
    same_distance: float,
    slope: float = 1.0,
    people: Sequence[Sequence[int]] | None = None,
    earlier: SeenStrangers | None = None,
) -> list[int]:
    """Group unknown people, in their order: a number from 1 for each.

    Everybody joins the group for which most speaks: how much nearer than ``same_distance`` their sightings
    are, times ``slope``, and what places and times say (:class:`Evidence`), if that comes to more than
    nothing and one person can have been in all of them. Otherwise it is a new group. How near two groups are
    is the root of the mean squared distance between their sightings (average linkage): a mean embedding would
    be nearer to everybody's the more it is the mean of.

    Args:
        embeddings: (N, D) of norm 1, a sighting each.
        evidence: of the same sightings.
        same_distance: Euclidean, between embeddings of norm 1.
        slope: how much the logarithm of the odds rises with each unit of distance nearer.
        people: the indices of the sightings of each, joined already; one sighting each where None.
        earlier: sightings that have their number already; new groups are numbered on from theirs.
    """
    of = [[at] for at in range(len(embeddings))] if people is None else people
    groups: dict[int, _Group] = {}
    if earlier is not None and earlier.numbers:
        past = len(evidence.cameras)
        evidence = replace(
            evidence,
            cameras=[*evidence.cameras, *earlier.cameras],
            spans=np.concatenate([evidence.spans.reshape(-1, 2), earlier.spans]),
        )
        for at, (number, row) in enumerate(zip(earlier.numbers, earlier.embeddings, strict=True)):
            _put(groups, number, [past + at], row.astype(np.float64))
    numbers = []
    for sightings in of:
        total = embeddings[list(sightings)].astype(np.float64).sum(axis=0)
        best = _best(total, sightings, groups, evidence, same_distance, slope)
        number = max(groups, default=0) + 1 if best is None else best
        _put(groups, number, sightings, total)
        numbers.append(number)
    return numbers


def _put(groups: dict[int, _Group], number: int, sightings: Sequence[int], total: Floats) -> None:
    group = groups.setdefault(number, _Group([], np.zeros_like(total)))
    group.sightings.extend(sightings)
    group.total += total


def _best(
    total: Floats,
    sightings: Sequence[int],
    groups: dict[int, _Group],
    evidence: Evidence,
    same_distance: float,
    slope: float,
) -> int | None:
    if not groups:
        return None
    keys = list(groups)
    means = np.asarray([group.total / len(group.sightings) for group in groups.values()])
    # The mean over all pairs of 2 - 2 a b is 2 - 2 times the product of the means.
    squared = 2 - 2 * means @ (total / len(sightings))
    looks = slope * (same_distance - np.sqrt(np.maximum(squared, 0)))
    best, most = None, 0.0
    for at in np.argsort(-looks, kind="stable"):
        if looks[at] + evidence.most < most:
            break  # nothing that places and times can say makes up for it
        said = _said(sightings, groups[keys[at]].sightings, evidence)
        score = float(looks[at]) + said
        if said != IMPOSSIBLE and (score > most or (best is None and score == most)):
            best, most = keys[at], score
    return best


def _said(sightings: Sequence[int], group: Sequence[int], evidence: Evidence) -> float:
    """What places and times say of the way to the first of the sightings from where the group was last, or of
    the last place from which they say anything; and whether anything rules out that they are one person.
    """
    if any(evidence.between(i, j) == IMPOSSIBLE for i in sightings for j in group):
        return IMPOSSIBLE
    if not evidence.most:
        return 0.0
    first = min(sightings, key=lambda one: (_start(one, evidence), one))
    before = [one for one in group if _start(one, evidence) <= _start(first, evidence)] or group
    by_end = sorted(before, key=lambda one: _end(one, evidence), reverse=True)
    return next((said for one in by_end[:_LAST] if (said := evidence.between(first, one))), 0.0)


def _start(one: int, evidence: Evidence) -> float:
    return float(np.nan_to_num(evidence.spans[one, 0], nan=-np.inf))


def _end(one: int, evidence: Evidence) -> float:
    return float(np.nan_to_num(evidence.spans[one, 1], nan=-np.inf))
