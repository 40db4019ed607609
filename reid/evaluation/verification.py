"""Verification: are two images one person? ROC, TAR at FAR, EER, and accuracy by folds.

A pair is accepted when its distance is at or below the threshold. *Positive* means the same person
throughout: TAR is the share of genuine pairs accepted, FAR the share of impostor pairs accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError

__all__ = ["FARS", "FoldReport", "RocCurve", "VerificationReport", "roc_curve", "verify", "verify_folds"]

FARS = (1e-2, 1e-3, 1e-4)


class RocCurve(NamedTuple):
    """Operating points in order of rising threshold, from (0, 0) to (1, 1)."""

    far: npt.NDArray[np.float64]
    tar: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]  # the first is -inf: nothing is accepted


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """How well distances tell same from different."""

    roc: RocCurve
    auc: float
    eer: float  # where FAR and the false reject rate meet, linear between operating points
    eer_threshold: float
    tar_at_far: dict[float, float]  # highest TAR among operating points whose FAR is at most the key
    genuine_pairs: int
    impostor_pairs: int
    # at ``threshold``, both chosen and measured on these pairs; ``verify_folds`` keeps them apart
    accuracy: float
    threshold: float

    def is_supported(self, far: float) -> bool:
        """Whether at least ten impostor pairs would be falsely accepted at ``far``, without which TAR at FAR
        says little.
        """
        return far * self.impostor_pairs >= 10

    def summary(self) -> dict[str, float | int]:
        """The figures as plain values, ready for a metrics file."""
        tars = {f"tar_at_far_{far:g}": tar for far, tar in self.tar_at_far.items()}
        counts = {"genuine_pairs": self.genuine_pairs, "impostor_pairs": self.impostor_pairs}
        return {
            "eer": self.eer,
            "auc": self.auc,
            "accuracy": self.accuracy,
            "threshold": self.threshold,
            **tars,
            **counts,
        }


@dataclass(frozen=True)
class FoldReport:
    """Means and standard deviations over folds: the threshold comes from the other folds each time."""

    accuracy: float
    accuracy_std: float
    val: float  # FaceNet's VAL: TAR at the threshold that gives the wanted FAR on the other folds
    val_std: float
    far: float  # the FAR met at those thresholds on the held-out fold
    wanted_far: float
    folds: int


def roc_curve(distances: npt.ArrayLike, same: npt.ArrayLike) -> RocCurve:
    """The ROC with one operating point per distinct distance; arguments and errors as for ``verify``."""
    values, genuine = _pairs(distances, same)
    order = np.argsort(values, kind="stable")
    values, genuine = values[order], genuine[order]
    last = np.flatnonzero(np.append(np.diff(values) > 0, True))
    accepted_genuine = np.cumsum(genuine)[last]
    accepted_impostors = last + 1 - accepted_genuine
    return RocCurve(
        far=np.append(0.0, accepted_impostors / accepted_impostors[-1]),
        tar=np.append(0.0, accepted_genuine / accepted_genuine[-1]),
        thresholds=np.append(-np.inf, values[last]),
    )


def verify(
    distances: npt.ArrayLike, same: npt.ArrayLike, *, fars: Sequence[float] = FARS
) -> VerificationReport:
    """Judge pairs by their distances.

    >>> report = verify([0.1, 0.2, 0.6, 0.5, 0.8, 0.9], [True, True, True, False, False, False])
    >>> report.impostor_pairs, round(report.eer, 2)
    (3, 0.33)

    Args:
        distances: (N,) one distance a pair; a threshold found here holds for the distance given, squared or
            not.
        same: (N,) true where the pair is one person.
        fars: false accept rates at which to report TAR.

    Raises:
        ReidError: there are no pairs, lengths differ, a distance is not finite, or there are no genuine or no
            impostor pairs.
        UsageError: a wanted rate is not between 0 and 1.
    """
    for far in fars:
        if not 0 < far < 1:
            raise UsageError(f"false accept rate {far} is not between 0 and 1")
    roc = roc_curve(distances, same)
    genuine = np.asarray(same, dtype=np.bool_)
    positives, negatives = int(genuine.sum()), int((~genuine).sum())
    eer, eer_threshold = _equal_error(roc)
    accuracy = (roc.tar * positives + (1 - roc.far) * negatives) / len(genuine)
    best = int(np.argmax(accuracy))
    return VerificationReport(
        roc=roc,
        auc=float(np.trapezoid(roc.tar, roc.far)),
        eer=eer,
        eer_threshold=eer_threshold,
        tar_at_far={far: float(roc.tar[_last_within(roc, far)]) for far in fars},
        genuine_pairs=positives,
        impostor_pairs=negatives,
        accuracy=float(accuracy[best]),
        threshold=_between(roc, best),
    )


def verify_folds(
    distances: npt.ArrayLike,
    same: npt.ArrayLike,
    folds: npt.ArrayLike | int = 10,
    *,
    wanted_far: float = 1e-3,
    seed: int = 0,
) -> FoldReport:
    """Accuracy and VAL by the protocol of LFW (Huang 2007; VAL: Schroff 2015, section 4).

    Args:
        distances: (N,).
        same: (N,) true where the pair is one person.
        folds: the fold of each pair (N,), as LFW prescribes them with no person in two folds, or a number of
            folds to deal
            genuine and impostor pairs into at random.
        wanted_far: the false accept rate of VAL.
        seed: of the random folds.

    Raises:
        ReidError: as for ``verify``, or a fold or its complement lacks genuine or impostor pairs.
    """
    values, genuine = _pairs(distances, same)
    fold_of = _deal(genuine, folds, seed) if isinstance(folds, int) else np.asarray(folds)
    if fold_of.shape != values.shape:
        raise ReidError(
            f"folds have shape {fold_of.shape} but there are {len(values)} pairs: give one fold per pair"
        )
    names = np.unique(fold_of)
    if len(names) < 2:
        raise ReidError(f"{len(names)} fold leaves nothing to choose the threshold on: want at least 2")
    # Sorted once: each fold's complement is then in order, which makes the sort of its ROC a single pass.
    order = np.argsort(values, kind="stable")
    values, genuine, fold_of = values[order], genuine[order], fold_of[order]
    rows = []
    for name in names:
        held_out = fold_of == name
        inside, outside = genuine[held_out], genuine[~held_out]
        if inside.all() or not inside.any() or outside.all() or not outside.any():
            raise ReidError(
                f"fold {name} or its complement lacks genuine or impostor pairs: use fewer folds or "
                "more pairs"
            )
        chosen = verify(values[~held_out], outside, fars=(wanted_far,))
        accepted = values[held_out] <= chosen.threshold
        val_threshold = chosen.roc.thresholds[_last_within(chosen.roc, wanted_far)]
        val_accepted = values[held_out] <= val_threshold
        rows.append((np.mean(accepted == inside), val_accepted[inside].mean(), val_accepted[~inside].mean()))
    accuracy, val, far = np.asarray(rows).T
    return FoldReport(
        accuracy=float(accuracy.mean()),
        accuracy_std=float(accuracy.std()),
        val=float(val.mean()),
        val_std=float(val.std()),
        far=float(far.mean()),
        wanted_far=wanted_far,
        folds=len(names),
    )


def _pairs(
    distances: npt.ArrayLike, same: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, genuine = np.asarray(distances, dtype=np.float64), np.asarray(same)
    if values.ndim != 1 or values.shape != genuine.shape:
        raise ReidError(
            f"distances have shape {values.shape} and same has shape {genuine.shape}: give one of each "
            "per pair"
        )
    if not len(values):
        raise ReidError("there are no pairs to verify: give at least one genuine and one impostor pair")
    if genuine.dtype.kind not in "biu" or not np.isin(genuine, (0, 1)).all():
        raise ReidError(f"same has type {genuine.dtype}: want true or false per pair")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ReidError(
            f"{len(bad)} of {len(values)} distances are NaN or infinite (first: pair {bad[0]}): "
            "compute them again"
        )
    flags = genuine.astype(np.bool_)
    if flags.all() or not flags.any():
        missing = "impostor" if flags.all() else "genuine"
        raise ReidError(
            f"all {len(flags)} pairs are {'genuine' if flags.all() else 'impostor'}: verification "
            f"needs {missing} pairs too"
        )
    return values, flags


def _equal_error(roc: RocCurve) -> tuple[float, float]:
    """Where FAR equals 1 - TAR on the line between the two operating points around it, and the threshold
    there.
    """
    surplus = roc.far + roc.tar - 1
    after = int(np.argmax(surplus >= 0))
    before = after - 1
    share = -surplus[before] / (surplus[after] - surplus[before])
    eer = roc.far[before] + share * (roc.far[after] - roc.far[before])
    low = roc.thresholds[before] if np.isfinite(roc.thresholds[before]) else roc.thresholds[after]
    return float(eer), float(low + share * (roc.thresholds[after] - low))


def _last_within(roc: RocCurve, far: float) -> int:
    return int(np.searchsorted(roc.far, far, side="right")) - 1


def _between(roc: RocCurve, point: int) -> float:
    """A threshold halfway to the next distance, so that rounding does not move a pair over it."""
    if point == 0:
        return float(np.nextafter(roc.thresholds[1], -np.inf))
    if point + 1 == len(roc.thresholds):
        return float(roc.thresholds[point])
    return float((roc.thresholds[point] + roc.thresholds[point + 1]) / 2)


def _deal(genuine: npt.NDArray[np.bool_], folds: int, seed: int) -> npt.NDArray[np.int64]:
    fold_of = np.empty(len(genuine), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for kind in (genuine, ~genuine):
        rows = rng.permutation(np.flatnonzero(kind))
        if len(rows) < folds:
            raise ReidError(
                f"{len(rows)} {'genuine' if kind is genuine else 'impostor'} pairs cannot fill {folds} "
                "folds: use fewer folds or more pairs"
            )
        fold_of[rows] = np.arange(len(rows)) % folds
    return fold_of
