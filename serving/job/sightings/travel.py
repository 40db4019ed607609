"""How long people take from one camera to another, learned from a job's own sightings."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from reid.evaluation.pairs import squared_distances_of_pairs

__all__ = ["Way", "fit_way", "gaps_between", "learn_ways", "sure_pairs"]

WINDOW_S = 600.0  # whoever comes later was elsewhere meanwhile
# the nearest is nearer than this share of the second nearest (Lowe 2004, section 7.1), seen from both sides
_APART = 0.95
_LEAST_JOINS = 6
_LEAST_SHARE = 0.5  # of the joins have to agree on a time
_STEPS = 50
_LEAST_SPREAD_S = 1.0  # a few joins may agree by chance

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Way:
    """From leaving one of two cameras' pictures to coming into the other's: normally distributed, for
    ``share`` of the people; the others come at any time within the window. Negative where views overlap.
    """

    joins: int  # that it was learned from
    median_s: float
    spread_s: float  # standard deviation
    share: float
    arrivals_per_s: float  # at the busier camera, while anybody comes

    @property
    def used(self) -> bool:
        """Whether there were enough joins, and most agree on a time."""
        return self.joins >= _LEAST_JOINS and self.share >= _LEAST_SHARE

    def log_ratio(self, gap_s: float) -> float:
        """The logarithm of how many times likelier it is that this person comes after ``gap_s`` than that
        just then somebody else does; 0 after the window.
        """
        if gap_s > WINDOW_S:
            return 0.0
        off = (gap_s - self.median_s) / self.spread_s
        normal = np.exp(-0.5 * off**2) / (self.spread_s * np.sqrt(2 * np.pi))
        density = self.share * normal + (1 - self.share) / WINDOW_S
        return float(np.log(density / max(self.arrivals_per_s, 1 / WINDOW_S)))


def learn_ways(
    embeddings: npt.NDArray[np.float32],
    cameras: Sequence[str],
    spans: Floats,
    same_distance: float,
) -> dict[frozenset[str], Way]:
    """The ways between two cameras, in both directions, that some pairs of sightings show which appearance
    alone joins.

    Args:
        embeddings: (N, D) of norm 1.
        cameras: of each.
        spans: (N, 2) start and end in seconds on one clock; NaN where there is none.
        same_distance: up to which two sightings are taken for one person.
    """
    where = np.asarray(cameras)
    of = {name: np.flatnonzero((where == name) & np.isfinite(spans).all(axis=1)) for name in set(cameras)}
    ways = {}
    for one, other in combinations(sorted(name for name, mine in of.items() if len(mine)), 2):
        a, b = of[one], of[other]
        i, j = sure_pairs(embeddings[a], embeddings[b], spans[a], spans[b], same_distance)
        if len(i):
            rate = max(_rate(spans[mine, 0]) for mine in (a, b))
            ways[frozenset((one, other))] = fit_way(gaps_between(spans[a[i]], spans[b[j]]), rate)
    return ways


def gaps_between(one: Floats, other: Floats) -> Floats:
    """Seconds from the end of the span that begins first to the beginning of the other, of spans (N, 2)."""
    return np.where(one[:, 0] <= other[:, 0], other[:, 0] - one[:, 1], one[:, 0] - other[:, 1])


def sure_pairs(
    one: npt.NDArray[np.float32],
    other: npt.NDArray[np.float32],
    one_spans: Floats,
    other_spans: Floats,
    same_distance: float,
) -> tuple[Ints, Ints]:
    """Pairs of sightings (N, D) and (M, D) of two cameras that are each other's nearest within the window, by
    far and within ``same_distance``.
    """
    none = np.zeros(0, np.int64)
    if not len(one) or not len(other):
        return none, none
    order = np.argsort(other_spans[:, 0], kind="stable")
    low = np.searchsorted(other_spans[order, 0], one_spans[:, 0] - WINDOW_S)
    high = np.searchsorted(other_spans[order, 0], one_spans[:, 1] + WINDOW_S)
    count = np.maximum(high - low, 0)
    i = np.repeat(np.arange(len(one)), count)
    j = order[
        np.repeat(low, count) + np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    ]
    distance = np.sqrt(squared_distances_of_pairs(one, other, np.column_stack([i, j])))
    best = _far_nearest(i, distance, len(one)) & _far_nearest(j, distance, len(other))
    chosen = best & (distance <= same_distance)
    return i[chosen], j[chosen]


def _far_nearest(group: Ints, distance: Floats, groups: int) -> npt.NDArray[np.bool_]:
    """Which pairs are the nearest of their group, and nearer than a share of its second nearest."""
    order = np.lexsort((distance, group))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(group[order]) != 0
    second = np.full(groups, np.inf)
    follows = np.flatnonzero(np.concatenate([~first[1:] & first[:-1], [False]]))
    second[group[order[follows]]] = distance[order[follows + 1]] if len(follows) else []
    chosen = np.zeros(len(order), bool)
    chosen[order] = first
    return chosen & (distance < _APART * second[group])


def fit_way(gaps: Floats, arrivals_per_s: float) -> Way:
    """A normal distribution beside an even one over the window, by expectation maximisation from the shortest
    interval that holds half of the gaps (N,), N >= 1: a few wrong joins do not move it.
    """
    ordered = np.sort(gaps)
    half = len(ordered) // 2
    widths = ordered[half:] - ordered[: len(ordered) - half]
    at = int(widths.argmin())
    middle = float(ordered[at : at + half + 1].mean())
    spread, share = max(float(widths[at]) / 1.35, _LEAST_SPREAD_S), 0.5
    for _ in range(_STEPS):
        normal = share * np.exp(-0.5 * ((gaps - middle) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
        belongs = normal / (normal + (1 - share) / WINDOW_S)
        weight = float(belongs.sum())
        if weight < 1e-6:
            break
        middle = float((belongs * gaps).sum() / weight)
        spread = max(float(np.sqrt((belongs * (gaps - middle) ** 2).sum() / weight)), _LEAST_SPREAD_S)
        share = (weight + 1) / (len(gaps) + 2)
    return Way(len(gaps), middle, spread, share, arrivals_per_s)


def _rate(starts: Floats) -> float:
    """Arrivals a second: the median of what is between one and the third after it, so that empty hours do not
    count.
    """
    apart = np.sort(starts)
    steps = apart[3:] - apart[:-3]
    return 3 / max(float(np.median(steps)), 0.1) if len(steps) else 0.0
