"""Who is this, who is nobody we know, and how sure are we: identification with a calibrated threshold, and
pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import numpy.typing as npt

from reid.card import ModelCard
from reid.embeddings import check_embeddings
from reid.errors import ReidError, UsageError
from reid.evaluation.policies import POLICIES, person_distances
from serving.gallery import UNKNOWN, CompactIndex, Gallery

__all__ = [
    "UNKNOWN",
    "Match",
    "PairMatch",
    "calibrated_threshold",
    "check_threshold",
    "decide",
    "drop_near_ties",
    "identify",
    "verify_pair",
]


@dataclass(frozen=True, slots=True)
class Match:
    """Who a probe is taken for. Distances are Euclidean between L2-normalised embeddings, 0..2; infinite
    where there is nobody.
    """

    identity: str  # "unknown" where the nearest person lies beyond the threshold
    distance: float  # to the nearest person, also where that one was refused
    threshold: float
    runner_up: str | None  # the second nearest person
    runner_up_distance: float
    margin: float  # runner_up_distance - distance; 0 with an empty gallery
    nearest: str | None = None  # the nearest person, also where that one was refused


@dataclass(frozen=True, slots=True)
class PairMatch:
    """Whether two embeddings show one person."""

    same: bool
    distance: float
    threshold: float


def calibrated_threshold(card: ModelCard, policy: str, unit: str, top_k: int = 3) -> float:
    """The distance up to which the model's matches are accepted, for a policy and a unit (``image`` or
    ``tracklet``).

    ``top_k`` is how many references the policy of that name takes.

    Raises:
        UsageError: the policy or unit is unknown.
        ReidError: the model was not calibrated for them.
    """
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r} is unknown: want one of {', '.join(POLICIES)}")
    if unit not in ("image", "tracklet"):
        raise UsageError(f"unit {unit!r} is unknown: want image or tracklet")
    threshold = card.threshold(policy, unit, top_k)
    if threshold is None:
        which = f"{policy} of {top_k}" if policy == "top_k" else policy
        raise ReidError(
            f"model {card.name} has no calibrated threshold for policy {which}, unit {unit}: run reid "
            "calibrate with pictures of people"
        )
    return threshold.distance


def check_threshold(threshold: float) -> None:
    """Raises UsageError where a threshold is no distance."""
    if not 0 <= threshold < inf:
        raise UsageError(f"threshold is {threshold}: want a distance, 0 to 2")


def identify(
    embeddings: npt.ArrayLike,
    gallery: Gallery,
    threshold: float,
    policy: str = "min",
    top_k: int = 3,
    index: CompactIndex | None = None,
) -> list[Match]:
    """Name each probe, or call it unknown.

    Args:
        embeddings: (Q, D) L2-normalised.
        gallery: opened with the fingerprint of the embeddings' model.
        threshold: largest distance that is accepted, from :func:`calibrated_threshold` for the same policy.
        policy: how a person's references are combined: ``min``, ``mean`` or ``top_k``.
        top_k: how many for ``top_k``.
        index: the gallery's, for the policy ``min``: it may miss somebody near, a distance stays what it is.

    Raises:
        UsageError: the policy is unknown, or ``top_k`` or ``threshold`` is out of range.
        ReidError: an embedding is not finite, not of norm 1 or of another dimension.
    """
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r} is unknown: want one of {', '.join(POLICIES)}")
    check_threshold(threshold)
    if policy == "min" and index is not None:
        return [decide(people, threshold) for people in index.search(embeddings, 2)]
    exact = gallery.index()
    probes = check_embeddings(embeddings, exact.embeddings.shape[1] or None)
    if policy == "min":
        nearest = exact.search(probes, 2)
    elif len(probes) and len(exact.embeddings):
        nearest = _two_nearest(*person_distances(probes, exact.embeddings, exact.identities, policy, top_k))
    else:
        nearest = [[] for _ in probes]
    return [decide(people, threshold) for people in nearest]


def _two_nearest(
    distances: npt.NDArray[np.float32], people: npt.NDArray[np.str_]
) -> list[list[tuple[str, float]]]:
    order = np.argsort(distances, axis=1, kind="stable")[:, :2]
    return [
        [(str(people[column]), float(row[column])) for column in columns]
        for row, columns in zip(distances, order, strict=True)
    ]


def decide(people: Sequence[tuple[str, float]], threshold: float) -> Match:
    """A name or ``unknown`` from the nearest people and their distances, nearest first."""
    if not people:
        return Match(UNKNOWN, inf, threshold, None, inf, 0.0, None)
    name, distance = people[0]
    second, second_distance = people[1] if len(people) > 1 else (None, inf)
    identity = name if distance <= threshold else UNKNOWN
    return Match(identity, distance, threshold, second, second_distance, second_distance - distance, name)


def drop_near_ties(matches: Sequence[Match], ratio: float) -> list[Match]:
    """Call unknown whose nearest person is farther than ``ratio`` times the runner-up (the ratio test of Lowe
    2004, section 7.1).

    A ratio of 1 turns it off. A threshold keeps strangers out: it says nothing about two enrolled people who
    look alike, between whom a small lead is chance.
    """
    if ratio == 1:
        return list(matches)
    return [replace(one, identity=UNKNOWN) if _near_tie(one, ratio) else one for one in matches]


def _near_tie(match: Match, ratio: float) -> bool:
    # Two people may have the same picture, at distance 0, which no ratio tells apart.
    same = match.runner_up is not None and match.distance == match.runner_up_distance
    return same or match.distance > ratio * match.runner_up_distance


def verify_pair(first: npt.ArrayLike, second: npt.ArrayLike, threshold: float) -> PairMatch:
    """Whether two embeddings (D,) lie within ``threshold`` of each other.

    Raises:
        ReidError: they are not finite, not of norm 1, or of different dimension.
    """
    one = check_embeddings(np.asarray(first)[None], None)
    other = check_embeddings(np.asarray(second)[None], one.shape[1])
    distance = float(np.linalg.norm(one - other))
    return PairMatch(distance <= threshold, distance, threshold)
