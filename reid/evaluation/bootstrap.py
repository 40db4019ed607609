"""How sure a ranking figure is: bootstrap over people, not queries, because the queries of one person are
alike.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.checks import Labels
from reid.evaluation.ranking import RankingReport

__all__ = ["Interval", "PairedDifference", "bootstrap_interval", "paired_bootstrap"]


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile confidence interval."""

    value: float
    low: float
    high: float
    confidence: float
    people: int


@dataclass(frozen=True)
class PairedDifference:
    """How much better B is than A on the same queries."""

    value: float  # figure of B less figure of A
    low: float
    high: float
    confidence: float
    share_better: float  # of the draws in which B is above A
    people: int

    @property
    def is_significant(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def bootstrap_interval(
    report: RankingReport,
    people: Labels,
    *,
    figure: str = "mean_ap",
    confidence: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The interval of ``figure`` when people are drawn with replacement.

    Args:
        report: of ``rank_gallery``.
        people: identity of every query given to ``rank_gallery``, valid or not.
        figure: ``mean_ap``, ``mean_inp`` or ``rank<k>``.
        confidence: share of draws inside the interval.
        samples: number of draws.
        seed: of the draws.

    Raises:
        ReidError: labels do not cover the queries, or fewer than two people have a valid query.
        UsageError: the figure is unknown, the confidence is not between 0 and 1, or there is no draw.
    """
    values = report.per_query(figure)
    draws, count = _draws(values, _people_of(report, people), confidence, samples, seed)
    low, high = np.quantile(draws, _tails(confidence))
    return Interval(float(values.mean()), float(low), float(high), confidence, count)


def paired_bootstrap(
    first: RankingReport,
    second: RankingReport,
    people: Labels,
    *,
    figure: str = "mean_ap",
    confidence: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Is the second model really better? The same people are drawn for both; other arguments as for
    ``bootstrap_interval``.

    Raises:
        ReidError: the reports judge different queries, or as for ``bootstrap_interval``.
    """
    if not np.array_equal(first.query_index, second.query_index):
        raise ReidError(
            f"the reports judge different queries ({first.valid_queries} and {second.valid_queries} valid): "
            "rank the same query and gallery with both models"
        )
    values = second.per_query(figure) - first.per_query(figure)
    draws, count = _draws(values, _people_of(first, people), confidence, samples, seed)
    low, high = np.quantile(draws, _tails(confidence))
    return PairedDifference(
        float(values.mean()), float(low), float(high), confidence, float(np.mean(draws > 0)), count
    )


def _people_of(report: RankingReport, people: Labels) -> npt.NDArray[np.int64]:
    labels = np.asarray(people)
    queries = report.valid_queries + report.skipped_queries
    if labels.shape != (queries,):
        raise ReidError(
            f"people have shape {labels.shape} but {queries} queries were ranked: give the identity of "
            "every query"
        )
    return np.unique(labels[report.query_index], return_inverse=True)[1].astype(np.int64)


def _draws(
    values: npt.NDArray[np.float64], person: npt.NDArray[np.int64], confidence: float, samples: int, seed: int
) -> tuple[npt.NDArray[np.float64], int]:
    """Means of ``values`` over (samples,) draws of people with replacement, and how many people there are."""
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence} is not between 0 and 1")
    if samples < 1:
        raise UsageError(f"{samples} bootstrap samples: want at least 1")
    sums, counts = np.bincount(person, weights=values), np.bincount(person)
    if len(sums) < 2:
        raise ReidError(
            f"the valid queries show {len(sums)} person: a confidence interval over people needs at least 2"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=samples)
    return (drawn @ sums) / (drawn @ counts), len(sums)


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2
