"""A claim, and what some seeds say of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from _people import World
from scipy.stats import t as student

__all__ = ["BOTH", "Claim", "Finding", "Verdict", "found", "reach"]

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


def reach(differences: npt.NDArray[np.float64]) -> float:
    """Half the 95 % interval of the mean of at least two paired differences: Student's t with one degree of
    freedom less than there are.
    """
    degrees = len(differences) - 1
    return float(student.ppf(0.975, degrees) * differences.std(ddof=1) / len(differences) ** 0.5)


def found(claim: Claim, pairs: Sequence[tuple[float, float]]) -> Finding:
    """What the figures of at least two seeds say: both ways have the same people, weights and batches, so
    the differences are paired.
    """
    ours, other = np.asarray(pairs, np.float64).T
    difference = ours - other
    half = reach(difference)
    low, high = float(difference.mean()) - half, float(difference.mean()) + half
    least, most = (-high, -low) if claim.smaller else (low, high)
    verdict: Verdict = "holds" if least > -claim.limit else "does not" if most < -claim.limit else "undecided"
    return Finding(float(ours.mean()), float(other.mean()), (low, high), verdict, len(pairs))
