"""Beyond the headline: other ways to rank, open set, clusters, and what is left under worse pictures.
Torch-free.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.evaluation import (
    CORRUPTIONS,
    POLICIES,
    ClusteringReport,
    Fall,
    FoldReport,
    OpenSetCurve,
    RankingReport,
    VerificationReport,
    cluster_by_threshold,
    corrupt,
    detection_identification_rate,
    distances_between,
    expand_queries,
    falls,
    k_reciprocal,
    open_set_scores,
    pool_tracklets,
    rank_distances,
    rescore_short_list,
    score_clusters,
    verify,
    verify_folds,
)
from reid.evaluation.checks import is_junk
from reid.evaluation.pair_metric import PairScorer
from reid.evaluation.report.judgement import EmbeddedSet, RetrievalResult, labels_of, rank

__all__ = ["ExtraMetrics", "Rescored", "judge_corrupted", "judge_extra", "rescored_by"]

Embed = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""(N, H, W, 3) uint8 RGB to (N, D)."""

_MOST_CLUSTERED = 5_000  # images; average linkage takes the square of them
_FOLDS = 10
_SHORT_LIST = 100


@dataclass(frozen=True, eq=False)
class ExtraMetrics:
    """What ``judge_extra`` finds; a part is empty or None where there was too little to judge."""

    rankings: dict[str, RankingReport]  # by the name of the way
    identification: dict[str, OpenSetCurve]  # by "unit, policy"
    clusters: ClusteringReport | None
    folds: FoldReport | None

    def summary(self) -> dict[str, Any]:
        """The figures as plain values, ready for a metrics file."""
        rates = {
            name: {f"rate_at_far_{far:g}": curve.at(far) for far in (0.01, 0.1)}
            | {"unknown_probes": curve.unknown_probes}
            for name, curve in self.identification.items()
        }
        found: dict[str, Any] = {
            "other_rankings": {name: report.summary() for name, report in self.rankings.items()},
            "open_set": rates,
        }
        if self.clusters is not None:
            found["clustering"] = self.clusters.summary()
        if self.folds is not None:
            found["verification_folds"] = asdict(self.folds)
        return found


@dataclass(frozen=True, eq=False)
class Rescored:
    """The learned metric g in its two uses, beside the distance of the embeddings."""

    plain: RankingReport
    rescored: RankingReport
    by_distance: VerificationReport
    by_metric: VerificationReport

    def summary(self) -> dict[str, float]:
        """The figures as plain values."""
        return {
            "mean_ap": self.rescored.mean_ap,
            "rank1": float(self.rescored.cmc[0]),
            "eer": self.by_metric.eer,
            "mean_ap_by_distance": self.plain.mean_ap,
            "rank1_by_distance": float(self.plain.cmc[0]),
            "eer_by_distance": self.by_distance.eer,
        }


def judge_extra(
    query: EmbeddedSet, gallery: EmbeddedSet, judged: RetrievalResult, *, seed: int
) -> ExtraMetrics:
    """Re-ranking, query expansion, identification with 'unknown', clusters and accuracy over folds."""
    labels = labels_of(query, gallery)
    rankings = {}
    if len(query) + len(gallery) > 20:  # the neighbourhoods of Zhong 2017 have so many members
        rankings["k-reciprocal"] = rank_distances(
            k_reciprocal(query.embeddings, gallery.embeddings), *labels, name="k-reciprocal"
        )
    expanded = expand_queries(query.embeddings, gallery.embeddings, neighbours=min(5, len(gallery)))
    rankings["query expansion"] = rank_distances(
        distances_between(expanded, gallery.embeddings), *labels, name="query expansion"
    )
    genuine = int(judged.same.sum())
    folds = min(_FOLDS, genuine, len(judged.same) - genuine)
    return ExtraMetrics(
        rankings,
        _identification(query, gallery),
        _clusters(gallery, judged.verification.threshold, seed),
        verify_folds(judged.distances, judged.same, folds, seed=seed) if folds > 1 else None,
    )


def rescored_by(
    scorer: PairScorer, query: EmbeddedSet, gallery: EmbeddedSet, judged: RetrievalResult
) -> Rescored:
    """The short list ordered anew by the learned metric g, and pairs verified by g (Chen 2017)."""
    first, second = query.embeddings, gallery.embeddings
    near = distances_between(first, second)
    ordered = rescore_short_list(
        near, lambda row, columns: scorer.paired(first[row][None], second[columns]), length=_SHORT_LIST
    )
    return Rescored(
        judged.report,
        rank_distances(ordered, *labels_of(query, gallery), name="learned metric"),
        judged.verification,
        verify(scorer.of_pairs(first, second, judged.pairs), judged.same),
    )


def judge_corrupted(
    query: EmbeddedSet,
    gallery: EmbeddedSet,
    clean: RankingReport,
    blocks: Iterable[tuple[int, npt.NDArray[np.uint8]]],
    embed: Embed,
    *,
    severity: int,
    seed: int,
) -> dict[str, dict[str, Fall]]:
    """How far each figure falls when the queries are corrupted and the gallery is not, by corruption.

    Args:
        query: who is looked for.
        gallery: where.
        clean: the queries ranked as they are.
        blocks: the images of the queries, as (number of the first, images); each is held only while it is
            corrupted and embedded.
        embed: the model.
        severity: 1 to 5.
        seed: of the corruptions.
    """
    rows = {name: np.empty_like(query.embeddings) for name in CORRUPTIONS}
    for start, images in blocks:
        for name, found in rows.items():
            found[start : start + len(images)] = embed(
                corrupt(images, name, severity, seed=seed, first=start)
            )
    shifted = {name: rank(replace(query, embeddings=found), gallery) for name, found in rows.items()}
    return falls(clean, shifted)


def _identification(query: EmbeddedSet, gallery: EmbeddedSet) -> dict[str, OpenSetCurve]:
    """Every probe once as known and once as unknown, by single image and by the images of one person in one
    camera pooled.
    """
    pooled, first = pool_tracklets(
        query.embeddings, np.char.add(np.char.add(query.identities, "/"), query.cameras)
    )
    probes = {"image": (query.embeddings, query.identities, query.cameras)}
    if len(first) < len(query):
        probes["tracklet"] = (pooled, query.identities[first], query.cameras[first])
    if len(np.unique(gallery.identities[~is_junk(gallery.identities)])) < 2:
        return {}
    found = {}
    for unit, (rows, identities, cameras) in probes.items():
        for policy in POLICIES:
            scores = open_set_scores(
                rows,
                identities,
                gallery.embeddings,
                gallery.identities,
                policy=policy,
                probe_cams=cameras,
                reference_cams=gallery.cameras,
            )
            if len(scores.genuine):
                found[f"{unit}, {policy}"] = detection_identification_rate(scores)
    return found


def _clusters(side: EmbeddedSet, distance: float, seed: int) -> ClusteringReport | None:
    """Of the people of one side, or of as many drawn ones as can be clustered at once."""
    people, images = np.unique(side.identities[~is_junk(side.identities)], return_counts=True)
    order = np.random.default_rng(seed).permutation(len(people))
    chosen = people[order[np.cumsum(images[order]) <= _MOST_CLUSTERED]]
    rows = np.flatnonzero(np.isin(side.identities, chosen))
    if len(rows) < 2 or len(rows) == len(set(side.identities[rows].tolist())):
        return None
    return score_clusters(side.identities[rows], cluster_by_threshold(side.embeddings[rows], distance))
