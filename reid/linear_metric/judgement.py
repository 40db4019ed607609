"""A metric fitted to the embeddings of some people and judged on others, for the stage and the command.
Torch-free.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid.card import MetricRecord
from reid.config import MetricParams
from reid.errors import UsageError
from reid.evaluation import rank_gallery
from reid.evaluation.within_camera import views
from reid.linear_metric.fitted import FittedMetric
from reid.linear_metric.fitting import check_fit, fit_metric

__all__ = ["Labelled", "check_wanted", "fit_and_judge"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Embeddings (N, D) with (N,) who, by which camera, and numbers that rise with time within a camera."""

    embeddings: npt.NDArray[np.float32]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]
    order: npt.NDArray[np.int64]


def check_wanted(
    wanted: MetricParams, width: int, identities: npt.NDArray[np.str_], cameras: npt.NDArray[np.str_]
) -> None:
    """Refuse, before any picture of these people is embedded to ``width`` numbers, what cannot be fitted.

    Raises:
        UsageError: no method is named, or the dimension is none that this embedding can have.
        ReidError: the method can learn nothing from these people.
    """
    if wanted.method is None:
        raise UsageError("metric.method is null: name one")
    landmarks = wanted.landmarks if wanted.kernel else None
    check_fit(identities, cameras, wanted.method, dim=wanted.dim, width=width, landmarks=landmarks)


def fit_and_judge(
    training: Labelled,
    held_out: Labelled,
    wanted: MetricParams,
    *,
    seed: int,
    fitted_to: str,
    data_hash: str,
    say: Callable[[str], None],
) -> tuple[FittedMetric, MetricRecord]:
    """Fit to the one and say how the other are ranked with it and without.

    Args:
        training: of the people to learn from.
        held_out: of other people; there may be none.
        wanted: the method, which is not None, and its options.
        seed: of the landmarks.
        fitted_to: fingerprint of the model.
        data_hash: of all pictures, for the record.
        say: called with a line for people now and then.

    Raises:
        UsageError: the dimension is none that this embedding can have.
        ReidError: the method can learn nothing from these people.
    """
    if wanted.method is None:
        raise UsageError("metric.method is null: name one")
    fit = fit_metric(
        training.embeddings,
        training.identities,
        training.cameras,
        wanted.method,
        dim=wanted.dim,
        shrinkage=wanted.shrinkage,
        landmarks=wanted.landmarks if wanted.kernel else None,
        seed=seed,
    )
    for line in fit.said:
        say(line)
    figures = _mean_aps(held_out, fit.metric)
    if figures is not None:
        verdict = "" if figures[1] >= figures[0] else ": worse than without, do not use it"
        say(f"held-out people: mAP {figures[0]:.3f} without the metric, {figures[1]:.3f} with it{verdict}")
    record = MetricRecord(
        method=wanted.method,
        shrinkage=wanted.shrinkage,
        landmarks=None if fit.metric.landmarks is None else len(fit.metric.landmarks),
        fitted_to=fitted_to,
        data_hash=data_hash,
        images=fit.images,
        people=fit.people,
        cameras=len(np.unique(training.cameras)),
        held_out_people=len(np.unique(held_out.identities)),
        mean_ap=figures,
    )
    return fit.metric, record


def _mean_aps(people: Labelled, metric: FittedMetric) -> tuple[float, float] | None:
    """mAP without and with the metric, each picture against all others; None where nobody can be found."""
    if not len(people.identities) or np.unique(people.identities, return_counts=True)[1].max() < 2:
        return None
    ranked = views(people.identities, people.cameras, people.order)
    rows, who = people.embeddings[ranked.rows], people.identities[ranked.rows]

    def mean_ap(embeddings: npt.NDArray[np.float32]) -> float:
        sides = embeddings, who, ranked.cameras
        return float(rank_gallery(*sides, *sides).mean_ap)

    return mean_ap(rows), mean_ap(metric.apply(rows))
