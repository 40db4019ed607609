"""A claim, and what some seeds say of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from _people import World
from scipy.stats import t as student

__all__ = ["BOTH", "Claim", "Finding", "Verdict", "found"]

Verdict = Literal["holds", "does not", "undecided"]
BOTH = ("rendered", "real")


@dataclass(frozen=True)
class Claim:
    """What somebody claims: that one way has a larger figure than another, or with ``smaller`` a smaller one.

    Attributes:
        says: the claim in words.
        source: who says so.
        trained: what stands behind the figures.
        figure: its name.
        measure: the figure of the one way and of the other, on the people of a world and with a seed, which
            draws who is held out, the first weights and the batches.
        worlds: where it is measured.
        smaller: the claim is that the figure falls.
        limit: how far the one way may be behind the other while the claim still holds.
        most_seeds: of a claim that takes long.
        quick: so sure that three seeds on few rendered people show it.
        tried: what else was tried where the claim does not come out.
    """

    says: str
    source: str
    trained: str
    figure: str
    measure: Callable[[World, int], tuple[float, float]]
    worlds: tuple[str, ...] = BOTH
    smaller: bool = False
    limit: float = 0.0
    most_seeds: int = 1000
    quick: bool = False
    tried: str = ""


@dataclass(frozen=True)
class Finding:
    """Means over the seeds, and the 95 % interval of the mean difference."""

    ours: float
    other: float
    interval: tuple[float, float]
    verdict: Verdict
    seeds: int


def found(claim: Claim, pairs: Sequence[tuple[float, float]]) -> Finding:
    """What the figures of at least two seeds say: both ways have the same people, weights and batches, so
    the differences are paired, and Student's t with one degree of freedom less than seeds gives the interval.
    """
    ours, other = np.asarray(pairs, np.float64).T
    difference = ours - other
    reach = student.ppf(0.975, len(pairs) - 1) * difference.std(ddof=1) / len(pairs) ** 0.5
    low, high = float(difference.mean() - reach), float(difference.mean() + reach)
    least, most = (-high, -low) if claim.smaller else (low, high)
    verdict: Verdict = "holds" if least > -claim.limit else "does not" if most < -claim.limit else "undecided"
    return Finding(float(ours.mean()), float(other.mean()), (low, high), verdict, len(pairs))
