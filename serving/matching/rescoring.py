"""Identification re-ranked by the learned metric g: g cannot be searched, so it orders only the people that
the distance finds near enough.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.embeddings import check_embeddings
from reid.errors import ReidError, UsageError
from reid.evaluation.pair_metric import PairScorer, load_pair_scorer
from reid.evaluation.policies import combine, person_distances
from reid.model_files import PAIR_METRIC
from serving.gallery import Gallery
from serving.matching.identification import Match, check_threshold, decide

__all__ = ["identify_rescored", "open_pair_scorer"]


def open_pair_scorer(model_dir: Path | str) -> PairScorer:
    """The learned metric that lies in a model directory.

    Raises:
        UsageError: the model has none.
        ReidError: the file is broken.
    """
    path = Path(model_dir) / PAIR_METRIC
    if path.exists() and not path.resolve().is_relative_to(Path(model_dir).resolve()):
        raise ReidError(f"{path} leads outside the model directory: copy the file there")
    if not path.exists():
        raise UsageError(
            f"model {model_dir} has no learned metric ({PAIR_METRIC}): export a quadruplet model, or "
            "leave rescore off"
        )
    return load_pair_scorer(path)


def identify_rescored(
    embeddings: npt.ArrayLike,
    gallery: Gallery,
    threshold: float,
    scorer: PairScorer,
    policy: str = "min",
    top_k: int = 3,
) -> list[Match]:
    """Name each probe, or call it unknown; where several people lie within the threshold, g decides between
    them (Chen 2017).

    Whether anybody is near enough remains the distance's to say, so the calibrated rate of false accepts
    holds as before.

    Args:
        embeddings: (Q, D) L2-normalised.
        gallery: opened with the fingerprint of the embeddings' model.
        threshold: largest distance that is accepted.
        scorer: g of the same model.
        policy: how a person's references are combined; of g the smallest (``min``), the mean, or the mean of
            the ``top_k`` smallest.
        top_k: how many for ``top_k``.

    Returns:
        A match for each probe. Distances stay distances, so the margin is negative where g decided against
            the nearest person.

    Raises:
        UsageError: the policy is unknown, or ``top_k`` or ``threshold`` is out of range.
        ReidError: an embedding is not finite, not of norm 1 or of another dimension.
    """
    check_threshold(threshold)
    index = gallery.index()
    probes = check_embeddings(embeddings, index.embeddings.shape[1] or None)
    if not len(probes) or not len(index.embeddings):
        return [decide([], threshold) for _ in probes]
    distances, people = person_distances(probes, index.embeddings, index.identities, policy, top_k)
    by_person = np.argsort(index.identities, kind="stable")
    references = np.split(by_person, np.searchsorted(index.identities[by_person], people)[1:])
    matches = []
    for probe, row in zip(probes, distances, strict=True):
        order = np.argsort(row, kind="stable")
        # in the precision of `decide`, which says whether anybody is
        near = order[row[order].astype(np.float64) <= threshold]
        if len(near) > 1:
            own = [index.embeddings[references[one]] for one in near]
            scores = np.concatenate([scorer.paired(probe, embeddings) for embeddings in own])
            starts = np.cumsum([0, *map(len, own[:-1])])
            by_score = np.argsort(combine(scores[None], starts, policy, top_k)[0], kind="stable")
            order = np.concatenate([near[by_score], order[len(near) :]])
        matches.append(decide([(str(people[one]), float(row[one])) for one in order[:2]], threshold))
    return matches
