"""From a distance to a certainty: the chance that two tracklets show one person, calibrated on people who are
known.
"""

import numpy as np
import numpy.typing as npt

from reid.card import Certainty
from reid.evaluation.checks import Labels, as_embeddings, as_labels, is_junk

__all__ = ["fit_certainty", "prior_of", "tracklet_certainty"]

_STEPS = 50
_BINS = 2000  # of distances from 0 to 2: a certainty changes by less than a hundredth within one
_MOST = 3000  # tracklets whose pairs are looked at
_STEEPEST = 100.0


def tracklet_certainty(embeddings: npt.ArrayLike, identities: Labels, cameras: Labels) -> Certainty | None:
    """Calibrate on tracklets of known people, all pairs of different cameras; None where no person is in two
    of them, or nobody else is.

    Args:
        embeddings: (T, D) L2-normalised, a pooled tracklet each.
        identities: (T,); junk (identity -1) is left out.
        cameras: (T,).
    """
    rows = as_embeddings(embeddings, "tracklet")
    who, where = as_labels(identities, "identities", len(rows)), as_labels(cameras, "cameras", len(rows))
    chosen = np.flatnonzero(~is_junk(who))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(_MOST, len(chosen))).astype(int)]
    rows = rows[chosen]
    who = who[chosen]
    where = where[chosen]
    first, second = np.triu_indices(len(rows), 1)
    apart = where[first] != where[second]
    first, second = first[apart], second[apart]
    squared = 2 - 2 * (rows @ rows.T)[first, second].astype(np.float64)
    distances = np.sqrt(np.maximum(squared, 0))
    same = who[first] == who[second]
    if not same.any() or same.all():
        return None
    return fit_certainty(distances[same], distances[~same])


def fit_certainty(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> Certainty:
    """Logistic regression of same or different on the distance, both counted alike, with the smoothed targets
    of Platt (1999, section 2.2), so that classes that do not overlap have a finite slope.

    Args:
        genuine: distances of pairs of one person.
        impostor: distances of pairs of two people.
    """
    own, other = np.asarray(genuine, np.float64), np.asarray(impostor, np.float64)
    target = np.concatenate(
        [np.full(len(own), (len(own) + 1) / (len(own) + 2)), np.full(len(other), 1 / (len(other) + 2))]
    )
    weight = np.concatenate([np.full(len(own), 0.5 / len(own)), np.full(len(other), 0.5 / len(other))])
    columns = np.stack([np.ones(len(target)), np.concatenate([own, other])], axis=1)
    centre = (own.mean() + other.mean()) / 2
    theta = np.array([centre, -1.0]) * 4 / max(float(other.mean() - own.mean()), 0.05)
    for _ in range(_STEPS):  # Newton; the loss is convex, a step that does not lower it is halved
        likely = 1 / (1 + np.exp(-np.clip(columns @ theta, -500, 500)))
        grad = columns.T @ (weight * (likely - target))
        hessian = columns.T @ (columns * (weight * likely * (1 - likely))[:, None]) + 1e-9 * np.eye(2)
        step, before = np.linalg.solve(hessian, grad), _loss(columns, theta, target, weight)
        size = 1.0
        while size > 1e-6 and _loss(columns, theta - size * step, target, weight) > before:
            size /= 2
        theta = theta - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    steepness = float(np.clip(-theta[1], 1e-3, _STEEPEST))
    return Certainty(
        middle=float(np.clip(-theta[0] / theta[1] if theta[1] else centre, 0, 2)),
        slope=steepness,
        apart=float(other.mean()),
        genuine=len(own),
        impostor=len(other),
    )


def _loss(
    columns: npt.NDArray[np.float64],
    theta: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
) -> float:
    odds = columns @ theta
    return float(weight @ (np.logaddexp(0, odds) - target * odds))


def prior_of(certainty: Certainty, distances: npt.NDArray[np.float32]) -> float:
    """The share of sightings (N,) that show the person looked for, as their distances say.

    It is found by turns: the certainties at even odds, their mean as the odds beforehand, and so on (Saerens,
    Latinne and Decaestecker 2002, section 2.2).
    """
    if not len(distances):
        return 0.5
    places = np.minimum((distances * (_BINS / 2)).astype(np.int64), _BINS - 1)
    counts = np.bincount(places, minlength=_BINS)
    filled = np.flatnonzero(counts)
    odds = np.exp(np.clip(certainty.log_ratio((filled + 0.5) * 2 / _BINS), -50, 50))
    least = 0.5 / len(distances)
    prior = 0.5
    for _ in range(_STEPS):
        after = float(counts[filled] @ (prior * odds / (prior * odds + 1 - prior))) / len(distances)
        after = min(max(after, least), 1 - least)
        if abs(after - prior) < 1e-9:
            break
        prior = after
    return prior
