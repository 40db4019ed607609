"""Thresholds and certainty of a model from people with labels, or from tracklets of whom some are certainly
different people. NumPy, no torch.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from reid.card import Certainty, ModelCard, Threshold
from reid.config import CalibrateParams
from reid.errors import ReidError
from reid.evaluation.certainty import tracklet_certainty
from reid.evaluation.open_set import OpenSetScores, calibrate_threshold, open_set_scores, pool_tracklets
from reid.evaluation.policies import person_distances

__all__ = ["certainty", "scores_without_labels", "supported", "thresholds", "with_thresholds"]

Embeddings = npt.NDArray[np.float32]
Distances = npt.NDArray[np.floating]
Strings = npt.NDArray[np.str_]


def thresholds(
    wanted: CalibrateParams,
    seed: int,
    embeddings: npt.NDArray[np.float32],
    identities: Strings,
    cameras: Strings,
    way_out: str,
    say: Callable[[str], None],
) -> list[Threshold]:
    """One threshold for each policy and unit; references are single images, as a gallery holds them.

    Where the people are too few for the wanted rate of false accepts, for the lowest rate that they can show;
    that is said with the way out.

    Args:
        wanted: the rate, the policies and how the intervals are drawn.
        seed: of the draws.
        embeddings: (N, D), L2-normalised.
        identities: (N,).
        cameras: (N,).
        way_out: what helps, in which ``{rate}`` is the lowest rate.
        say: called with a line where the rate is not the wanted one.

    Raises:
        ReidError: no person meets another more than once.
    """
    # The images of one person in one camera pooled, as serving pools a tracklet.
    pooled, first = pool_tracklets(embeddings, np.char.add(np.char.add(identities, "/"), cameras))
    found = []
    units = {
        "image": (embeddings, identities, cameras),
        "tracklet": (pooled, identities[first], cameras[first]),
    }
    for unit, (probes, probe_ids, probe_cams) in units.items():
        sides = probes, probe_ids, embeddings, identities
        scores = open_set_scores(*sides, probe_cams=probe_cams, reference_cams=cameras)
        rate, people = supported(scores, wanted.false_accept_rate, unit, way_out, say)
        found += [
            calibrate_threshold(
                *sides,
                probe_cams=probe_cams,
                reference_cams=cameras,
                false_accept_rate=rate,
                placement=wanted.placement,
                policy=policy,
                unit=unit,
                bootstrap=wanted.bootstrap if people > 1 else 0,
                seed=seed,
            )
            for policy in wanted.policies
        ]
    return found


def certainty(embeddings: npt.NDArray[np.float32], identities: Strings, cameras: Strings) -> Certainty | None:
    """How sure a distance between two tracklets is; None where nobody is in two cameras."""
    pooled, first = pool_tracklets(embeddings, np.char.add(np.char.add(identities, "/"), cameras))
    return tracklet_certainty(pooled, identities[first], cameras[first])


def supported(
    scores: OpenSetScores, wanted: float, unit: str, way_out: str, say: Callable[[str], None]
) -> tuple[float, int]:
    """The wanted rate of false accepts, or the lowest that so many probes can show, which is said as in
    :func:`thresholds`; and how many people the probes show.

    Raises:
        ReidError: there is one probe.
    """
    probes = len(scores.impostor)
    people = len(np.unique(scores.impostor_people))
    if probes * wanted >= 1:
        return wanted, people
    more = math.ceil((1 / wanted - probes) * people / probes)  # with as many probes each as these have
    if probes < 2:
        raise ReidError(
            f"one {unit} of a person that meets others is too few for a threshold: some {more} people "
            "more are wanted"
        )
    lowest = math.ceil(1000 / probes) / 1000  # upwards, so that the rate said is one that can be set
    say(
        f"{unit}: {probes} probes of {people} people are too few for a false accept rate of "
        f"{wanted:g}: calibrated for {lowest:g}; "
        f"some {more} people more are wanted: {way_out.format(rate=f'{lowest:g}')}"
    )
    return lowest, people


def scores_without_labels(
    tracklets: Sequence[Embeddings], apart: npt.NDArray[np.bool_], unit: str, policy: str = "min"
) -> OpenSetScores:
    """Every tracklet's earlier crops against its later ones and the other way round, and against all crops of
    the tracklets that certainly show somebody else.

    Args:
        tracklets: embeddings (K, D) of the crops of each, in order of time, two at least.
        apart: (N, N) which tracklets are certainly different people; some are.
        unit: ``image``, or ``tracklet``: the probes of a half are pooled.
        policy: how the distance to a person comes from those to its crops.
    """
    own: list[Distances] = []
    other: list[Distances] = []
    who: list[npt.NDArray[np.int64]] = []
    for index, rows in enumerate(tracklets):
        those = np.flatnonzero(apart[index]).tolist()
        if not those:
            continue
        half = len(rows) // 2
        halves = rows[:half], rows[-half:]
        for probes, rest in (halves, halves[::-1]):
            asked = probes if unit == "image" else pool_tracklets(probes, np.zeros(len(probes), np.int64))[0]
            references = np.concatenate([rest, *(tracklets[j] for j in those)])
            counts = [len(rest), *(len(tracklets[j]) for j in those)]
            ids = np.repeat(np.arange(len(counts)), counts)
            distances = person_distances(asked, references, ids, policy)[0]
            own.append(distances[:, 0])
            other.append(distances[:, 1:].min(axis=1))
            who.append(np.full(len(asked), index))
    to_own = np.concatenate(own).astype(np.float64)
    to_other = np.concatenate(other).astype(np.float64)
    people = np.concatenate(who)
    return OpenSetScores(
        impostor=to_other,
        impostor_people=people,
        genuine=np.minimum(to_own, to_other),
        genuine_people=people,
        named_right=to_own <= to_other,
        people=len(np.unique(people)),
    )


def with_thresholds(card: ModelCard, made: Sequence[Threshold], sure: Certainty | None = None) -> ModelCard:
    """The card with thresholds in place of earlier ones for the same policy and unit, and with a certainty
    where there is a new one.
    """
    new = {(one.policy, one.unit) for one in made}
    kept = tuple(one for one in card.thresholds if (one.policy, one.unit) not in new)
    return card.model_copy(update={"thresholds": (*kept, *made), "certainty": sure or card.certainty})
