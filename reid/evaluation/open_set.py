"""Open set: is the probe anyone we know? Calibrated thresholds and detection-and-identification rates
(Phillips 2011).

Every probe is also an impostor: against the gallery from which its own identity is taken out. It is falsely
accepted when its nearest *person* lies within the threshold, so the rate is one of identification and grows
with the gallery: a threshold holds for galleries of about the size it was calibrated on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from reid.card import Threshold
from reid.errors import ReidError, UsageError
from reid.evaluation.checks import Labels, as_embeddings, as_labels, encode, is_junk, unit_rows
from reid.evaluation.policies import Policy, person_distance_blocks

__all__ = [
    "OpenSetCurve",
    "OpenSetScores",
    "calibrate_threshold",
    "detection_identification_rate",
    "limit_for",
    "open_set_scores",
    "pool_tracklets",
    "threshold_of",
]


@dataclass(frozen=True, eq=False)
class OpenSetScores:
    """The distances that decide, for each probe with at least one other person in its gallery. NaN or
    infinite nowhere.
    """

    impostor: npt.NDArray[np.float64]  # (N,) to the nearest other person
    impostor_people: npt.NDArray[np.int64]  # (N,) a code for the probe's identity
    # (M,) to the nearest person of all, for probes whose identity is in the gallery
    genuine: npt.NDArray[np.float64]
    genuine_people: npt.NDArray[np.int64]  # (M,) a code for the probe's identity
    named_right: npt.NDArray[np.bool_]  # (M,) whether that nearest person is the probe's own
    people: int  # in the gallery


@dataclass(frozen=True, eq=False)
class OpenSetCurve:
    """Detection-and-identification rate against false accept rate, in order of rising threshold."""

    false_accept_rate: npt.NDArray[np.float64]
    identification_rate: npt.NDArray[np.float64]  # share of known probes accepted and named right
    thresholds: npt.NDArray[np.float64]
    known_probes: int
    unknown_probes: int
    people: int

    def at(self, false_accept_rate: float) -> float:
        """The highest identification rate whose false accept rate is at most the one given."""
        return float(
            self.identification_rate[
                np.searchsorted(self.false_accept_rate, false_accept_rate, side="right") - 1
            ]
        )


def open_set_scores(
    probe_emb: npt.ArrayLike,
    probe_ids: Labels,
    reference_emb: npt.ArrayLike,
    reference_ids: Labels,
    *,
    policy: Policy = "min",
    top_k: int = 3,
    probe_cams: Labels | None = None,
    reference_cams: Labels | None = None,
) -> OpenSetScores:
    """Play every probe as known and as unknown.

    Args:
        probe_emb: (Q, D); junk probes (identity -1) are left out, as are junk references.
        probe_ids: (Q,).
        reference_emb: (N, D).
        reference_ids: (N,).
        policy: as in ``person_distances``.
        top_k: as in ``person_distances``.
        probe_cams: (Q,); with ``reference_cams``, a probe never meets references of its own camera.
        reference_cams: (N,).

    Raises:
        ReidError: bad embeddings or labels, fewer than two people among the references, or no probe with
            another person to meet.
        UsageError: cameras are given for one side only, or the policy is unknown.
    """
    probes, references = as_embeddings(probe_emb, "probe"), as_embeddings(reference_emb, "reference")
    own, theirs = (
        as_labels(probe_ids, "probe ids", len(probes)),
        as_labels(reference_ids, "reference ids", len(references)),
    )
    own_codes, their_codes = encode(own, theirs, "identities")
    rows, columns = np.flatnonzero(~is_junk(own)), np.flatnonzero(~is_junk(theirs))
    people = np.unique(their_codes[columns])
    if len(people) < 2:
        raise ReidError(
            f"the references show {len(people)} person: an open-set gallery needs at least 2 people"
        )
    if not len(rows):
        raise ReidError(f"all {len(probes)} probes are junk (identity -1): there is nothing to calibrate on")
    if (probe_cams is None) != (reference_cams is None):
        raise UsageError(
            "cameras are given for one side only: give probe_cams and reference_cams, or neither"
        )
    to_own, to_other = np.full(len(rows), np.inf), np.full(len(rows), np.inf)
    for part, usable in _meetings(rows, columns, len(probes), len(references), probe_cams, reference_cams):
        who, blocks = person_distance_blocks(
            probes[rows[part]], references[usable], their_codes[usable], policy, top_k
        )
        for start, block in blocks:
            these = part[start : start + len(block)]
            to_own[these], to_other[these] = _own_and_other(block, own_codes[rows[these]], who)
    return _scores(to_own, to_other, own_codes[rows], len(people))


def calibrate_threshold(
    probe_emb: npt.ArrayLike,
    probe_ids: Labels,
    reference_emb: npt.ArrayLike,
    reference_ids: Labels,
    *,
    false_accept_rate: float,
    policy: Policy = "min",
    top_k: int = 3,
    unit: str = "image",
    bootstrap: int = 200,
    seed: int = 0,
    probe_cams: Labels | None = None,
    reference_cams: Labels | None = None,
    placement: Literal["limit", "middle"] = "limit",
) -> Threshold:
    """The distance at which unknown probes are accepted no more often than wanted, with a 95 % interval.

    The limit is the quantile of the unknown probes' distances to their nearest person, linear between
    neighbours, so that at most ``false_accept_rate`` of them lie at or below it. Where the known probes that
    are named right end well below it, the limit admits strangers for nothing: ``middle`` puts the threshold
    half way between the last of them within the limit and the limit, which names as many right and accepts no
    more strangers. Where known and unknown overlap, the two come to the same. The interval comes from drawing
    the probes' people with replacement; the gallery stays as it is.

    Args:
        probe_emb: (Q, D).
        probe_ids: (Q,).
        reference_emb: (N, D).
        reference_ids: (N,).
        false_accept_rate: wanted share of unknown probes accepted, above 0 and below 1.
        policy: as in ``person_distances``.
        top_k: as in ``person_distances``.
        unit: what a row of ``probe_emb`` is, ``image`` or ``tracklet`` (see ``pool_tracklets``); recorded in
            the result.
        bootstrap: number of draws; 0 leaves the interval out.
        seed: of the draws.
        probe_cams: as in ``open_set_scores``.
        reference_cams: as in ``open_set_scores``.
        placement: ``limit`` or ``middle``.

    Raises:
        ReidError: as for ``open_set_scores``, or there are too few probes or people for the wanted rate.
        UsageError: the rate or the unit is not one of those allowed.
    """
    if not 0 < false_accept_rate < 1:
        raise UsageError(f"false accept rate {false_accept_rate} is not between 0 and 1")
    if unit not in ("image", "tracklet"):
        raise UsageError(f"unit {unit!r} is unknown: want image or tracklet")
    scores = open_set_scores(
        probe_emb,
        probe_ids,
        reference_emb,
        reference_ids,
        policy=policy,
        top_k=top_k,
        probe_cams=probe_cams,
        reference_cams=reference_cams,
    )
    return threshold_of(
        scores,
        false_accept_rate=false_accept_rate,
        policy=policy,
        top_k=top_k,
        unit=unit,
        bootstrap=bootstrap,
        seed=seed,
        placement=placement,
    )


def threshold_of(
    scores: OpenSetScores,
    *,
    false_accept_rate: float,
    policy: Policy = "min",
    top_k: int = 3,
    unit: str = "image",
    bootstrap: int = 200,
    seed: int = 0,
    placement: Literal["limit", "middle"] = "limit",
) -> Threshold:
    """As :func:`calibrate_threshold`, from scores that were made already, with this policy and ``top_k``.

    Raises:
        ReidError: there are too few probes or people for the wanted rate.
        UsageError: the rate or the unit is not one of those allowed.
    """
    if not 0 < false_accept_rate < 1:
        raise UsageError(f"false accept rate {false_accept_rate} is not between 0 and 1")
    if unit not in ("image", "tracklet"):
        raise UsageError(f"unit {unit!r} is unknown: want image or tracklet")
    impostors = len(scores.impostor)
    if impostors * false_accept_rate < 1:
        needed = int(np.ceil(1 / false_accept_rate))
        raise ReidError(
            f"{impostors} impostor probes are too few for a false accept rate of {false_accept_rate:g}: "
            f"want at least {needed}, or calibrate for {1 / impostors:.2g} or more"
        )
    low, high = (
        _interval(scores, false_accept_rate, placement, bootstrap, seed) if bootstrap else (None, None)
    )
    return Threshold(
        policy=policy,
        unit=unit,  # type: ignore[arg-type]
        false_accept_rate=false_accept_rate,
        distance=_place(scores.impostor, scores.genuine[scores.named_right], false_accept_rate, placement),
        low=low,
        high=high,
        probes=impostors,
        top_k=top_k,
    )


def detection_identification_rate(scores: OpenSetScores) -> OpenSetCurve:
    """The curve of ``scores``: at every threshold, how many unknown probes are accepted and how many known
    ones are named right.

    Raises:
        ReidError: no probe's identity is in the gallery.
    """
    if not len(scores.genuine):
        raise ReidError(
            f"none of the {len(scores.impostor)} probes shows a gallery person: an identification rate "
            "needs known probes"
        )
    right = np.sort(scores.genuine[scores.named_right])
    wrong = np.sort(scores.impostor)
    thresholds = np.unique(np.concatenate([right, wrong]))
    return OpenSetCurve(
        false_accept_rate=np.append(0.0, np.searchsorted(wrong, thresholds, side="right") / len(wrong)),
        identification_rate=np.append(
            0.0, np.searchsorted(right, thresholds, side="right") / len(scores.genuine)
        ),
        thresholds=np.append(-np.inf, thresholds),
        known_probes=len(scores.genuine),
        unknown_probes=len(wrong),
        people=scores.people,
    )


def pool_tracklets(
    embeddings: npt.ArrayLike, tracklets: Labels
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The mean embedding of every tracklet.

    Args:
        embeddings: (N, D), L2-normalised.
        tracklets: (N,) integers or strings.

    Returns:
        means (T, D) float32, L2-normalised, tracklets in sorted order; the row of each tracklet's first image
        (T,), by which to take its identity and camera.

    Raises:
        ReidError: bad embeddings, or labels of another length.
    """
    rows = as_embeddings(embeddings, "image")
    names = as_labels(tracklets, "tracklets", len(rows))
    order = np.argsort(names, kind="stable")
    starts = np.unique(names[order], return_index=True)[1]
    return unit_rows(np.add.reduceat(rows[order], starts, axis=0), "tracklet"), order[starts]


def _meetings(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    probes: int,
    references: int,
    probe_cams: Labels | None,
    reference_cams: Labels | None,
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Which positions in ``rows`` may meet which reference rows."""
    if probe_cams is None or reference_cams is None:
        return [(np.arange(len(rows)), columns)]
    ours, theirs = encode(
        as_labels(probe_cams, "probe cameras", probes),
        as_labels(reference_cams, "reference cameras", references),
        "cameras",
    )
    pairs = [
        (np.flatnonzero(ours[rows] == camera), columns[theirs[columns] != camera])
        for camera in np.unique(ours[rows])
    ]
    return [(part, usable) for part, usable in pairs if len(usable)]


def _own_and_other(
    distances: npt.NDArray[np.float32], own: npt.NDArray[np.int64], people: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Of each probe (n,) the distance to its own person and to the nearest other, infinite where there is
    none; ``distances`` is spent.
    """
    column = np.minimum(np.searchsorted(people, own), len(people) - 1)
    row = np.arange(len(own))
    listed = people[column] == own
    to_own = np.where(listed, distances[row, column], np.float32(np.inf))
    distances[row[listed], column[listed]] = np.inf
    return to_own, distances.min(axis=1)


def _scores(
    to_own: npt.NDArray[np.float64],
    to_other: npt.NDArray[np.float64],
    own: npt.NDArray[np.int64],
    people: int,
) -> OpenSetScores:
    impostor, genuine = np.isfinite(to_other), np.isfinite(to_own)
    if not impostor.any():
        raise ReidError(
            f"none of the {len(own)} probes meets another person: every reference comes from the "
            "probes' own camera"
        )
    return OpenSetScores(
        impostor=to_other[impostor],
        impostor_people=own[impostor],
        genuine=np.minimum(to_own, to_other)[genuine],
        genuine_people=own[genuine],
        named_right=(to_own <= to_other)[genuine],
        people=people,
    )


def limit_for(scores: npt.NDArray[np.float64], rate: float) -> float:
    """The largest distance within which at most a share ``rate`` of the scores (N,) lies, interpolated
    between neighbours.
    """
    value = float(np.quantile(scores, rate, method="interpolated_inverted_cdf"))
    if np.mean(scores <= value) > rate:
        # Equal distances straddle the wanted share: stay below them all.
        return float(np.nextafter(scores[scores <= value].max(), -np.inf))
    return value


def _place(
    impostor: npt.NDArray[np.float64], right: npt.NDArray[np.float64], rate: float, placement: str
) -> float:
    limit = limit_for(impostor, rate)
    within = right[right <= limit]
    return limit if placement == "limit" or not len(within) else float((within.max() + limit) / 2)


def _interval(
    scores: OpenSetScores, rate: float, placement: str, draws: int, seed: int
) -> tuple[float, float]:
    people, person = np.unique(scores.impostor_people, return_inverse=True)
    if len(people) < 2:
        raise ReidError(
            f"the probes show {len(people)} person: a confidence interval over people needs at least 2 "
            "(or bootstrap=0)"
        )
    rng = np.random.default_rng(seed)
    order = np.argsort(scores.impostor)
    values, owner = scores.impostor[order], person[order]
    known = scores.named_right & np.isin(scores.genuine_people, people)
    right = scores.genuine[known]
    whose = np.searchsorted(people, scores.genuine_people[known])
    found = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people))
        found.append(_place(np.repeat(values, times[owner]), right[times[whose] > 0], rate, placement))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
