"""Every figure of one model on one query and gallery, for the stage ``evaluate`` and the command alike. Torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.evaluation import (
    Distances,
    Interval,
    RankingReport,
    VerificationReport,
    bootstrap_interval,
    camera_breakdown,
    distances_between,
    draw_pairs,
    pair_distances,
    rank_distances,
    rank_gallery,
    verify,
)

__all__ = ["Judgement", "Side", "judge", "labels_of", "rank", "rank_across"]


@dataclass(frozen=True, eq=False)
class Side:
    """The query or the gallery: embeddings (N, D), labels (N,), and the image files."""

    embeddings: npt.NDArray[np.float32]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]
    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.identities)


@dataclass(frozen=True, eq=False)
class Judgement:
    """What came of judging one model."""

    report: RankingReport
    across: RankingReport  # against images of other cameras alone
    by_cameras: dict[tuple[str, str], RankingReport]
    verification: VerificationReport
    pairs: npt.NDArray[np.int64]  # (N, 2) rows of query and gallery
    distances: npt.NDArray[np.float64]  # (N,)
    same: npt.NDArray[np.bool_]  # (N,)
    intervals: dict[str, Interval]  # by figure; empty where no bootstrap was asked for


def rank(query: Side, gallery: Side) -> RankingReport:
    """Query against gallery by the Market-1501 protocol."""
    sides = ((side.embeddings, side.identities, side.cameras) for side in (query, gallery))
    return rank_gallery(*next(sides), *next(sides))


def rank_across(query: Side, gallery: Side) -> RankingReport:
    """Query against the images of other cameras alone: strangers seen by the query's own camera are left out, too.

    Market-1501's protocol leaves them in, and a model that goes by the background ranks them first.
    """
    plain = distances_between(query.embeddings, gallery.embeddings)

    def elsewhere(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        block = plain(rows)
        block[query.cameras[rows][:, None] == gallery.cameras[None, :]] = np.inf
        return block

    return rank_distances(elsewhere, *labels_of(query, gallery), name="euclidean, other cameras only")


def judge(query: Side, gallery: Side, *, bootstrap: int, seed: int, reranked: Distances | None = None) -> Judgement:
    """Compute every figure.

    Args:
        query: who is looked for.
        gallery: where.
        bootstrap: draws of a confidence interval; 0 for none.
        seed: of the draws of pairs and people.
        reranked: what to rank by instead of the distances of embeddings; verification and cameras stay with the embeddings.

    Raises:
        ReidError: bad embeddings, or nobody to find, as the functions called say.
    """
    labels = labels_of(query, gallery)
    report = rank(query, gallery) if reranked is None else rank_distances(reranked, *labels, name="k-reciprocal")
    pairs, same = draw_pairs(*labels, seed=seed)
    distances = pair_distances(query.embeddings, gallery.embeddings, pairs)
    by_cameras = camera_breakdown(
        query.embeddings, query.identities, query.cameras, gallery.embeddings, gallery.identities, gallery.cameras
    )
    intervals = {
        figure: bootstrap_interval(report, query.identities, figure=figure, samples=bootstrap, seed=seed)
        for figure in (("mean_ap", "rank1") if bootstrap else ())
    }
    return Judgement(report, rank_across(query, gallery), by_cameras, verify(distances, same), pairs, distances, same, intervals)


def labels_of(query: Side, gallery: Side) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_], npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Identities and cameras in the order that the library's functions take them."""
    return query.identities, query.cameras, gallery.identities, gallery.cameras
