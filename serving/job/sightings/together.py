"""Sightings of several cameras at the same moment and the same place: one person, seen from several sides."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reid.evaluation.pairs import squared_distances_of_pairs
from serving.job.sightings.evidence import Evidence

__all__ = ["seen_together"]

_LEAST_S = 0.5  # two cameras see somebody together at least as long: a shorter time shows no place
_CLIP = 8.0  # more than a place can say: who looks like nobody there is nobody there

Ints = npt.NDArray[np.int64]


def seen_together(
    embeddings: npt.NDArray[np.float32], evidence: Evidence, same_distance: float, slope: float
) -> list[list[int]]:
    """Sightings in groups of those that are one person at one time, in the order of their first members.

    Pairs are joined in order of what speaks for them, place and looks together, as long as everything between
    the two groups comes to more than nothing and none of it is impossible.

    Args:
        embeddings: (N, D) of norm 1, a sighting each.
        evidence: of the same sightings.
        same_distance: Euclidean distance at which looks speak for neither side.
        slope: of the logarithm of the odds for each unit of distance nearer.
    """
    pairs = _at_once(evidence)
    distances = np.sqrt(squared_distances_of_pairs(embeddings, embeddings, pairs))
    looks = np.clip(slope * (same_distance - distances), -_CLIP, _CLIP)
    score = {
        (int(i), int(j)): float(look) + evidence.between(int(i), int(j))
        for (i, j), look in zip(pairs, looks, strict=True)
    }
    group_of = {at: [at] for at in range(len(embeddings))}
    for i, j in sorted((pair for pair in score if score[pair] > 0), key=lambda pair: (-score[pair], pair)):
        one, other = group_of[i], group_of[j]
        if one is other or not _agree(one, other, score, evidence):
            continue
        one += other
        for at in other:
            group_of[at] = one
    unique = {id(group): sorted(group) for group in group_of.values()}
    return sorted(unique.values())


def _at_once(evidence: Evidence) -> Ints:
    """Pairs (M, 2), the first index smaller, of sightings with tracks that two cameras have at once."""
    placed = [at for at in range(len(evidence.cameras)) if evidence.track(at) is not None]
    placed.sort(key=lambda at: (evidence.spans[at, 0], at))
    pairs: list[tuple[int, int]] = []
    there: list[int] = []
    for at in placed:
        there = [one for one in there if evidence.spans[one, 1] - evidence.spans[at, 0] >= _LEAST_S]
        pairs += [
            (min(one, at), max(one, at))
            for one in there
            if evidence.cameras[one] != evidence.cameras[at] and evidence.together(one, at)
        ]
        there.append(at)
    return np.asarray(sorted(pairs), np.int64).reshape(-1, 2)


def _agree(
    one: Sequence[int], other: Sequence[int], score: dict[tuple[int, int], float], evidence: Evidence
) -> bool:
    total = 0.0
    for i in one:
        for j in other:
            pair = (min(i, j), max(i, j))
            # Sightings that are not there at once may be of one camera, before and after something hid her.
            total += score[pair] if pair in score else min(evidence.between(i, j), 0.0)
    return total > 0
