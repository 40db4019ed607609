"""Every figure of one model on one query and gallery, for the stage ``evaluate`` and the command alike.
Torch-free.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.data.catalog import DISTRACTOR, JUNK, natural_order
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
from reid.evaluation.within_camera import gallery_apart

__all__ = [
    "EmbeddedSet",
    "RetrievalResult",
    "judge",
    "labels_of",
    "nothing_to_find",
    "one_camera_apart",
    "rank",
    "rank_across",
]


@dataclass(frozen=True, eq=False)
class EmbeddedSet:
    """The query or the gallery: embeddings (N, D), labels (N,), the image files, and numbers (N,) that rise
    with time within a camera.
    """

    embeddings: npt.NDArray[np.float32]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]
    paths: Sequence[Path]
    order: npt.NDArray[np.int64] | None = None  # None: the order of the names
    # whether ``cameras`` are parts of cameras, as ``one_camera_apart`` makes them
    within_camera: bool = False

    def __len__(self) -> int:
        return len(self.identities)


def nothing_to_find(identities: npt.NDArray[np.str_]) -> str | None:
    """What is said where every person of the query and gallery images (N,), each there once, is in one image
    alone; else None.
    """
    people = identities[~np.isin(identities, (JUNK, DISTRACTOR))]
    if not len(people) or np.unique(people, return_counts=True)[1].max() > 1:
        return None
    return (
        f"figures are left out: each of {len(people):,} people is in one image alone, so nobody can "
        "be found by another image"
    )


def one_camera_apart(query: EmbeddedSet, gallery: EmbeddedSet) -> tuple[EmbeddedSet, EmbeddedSet]:
    """Query and gallery as they are, or where no query's person is in the gallery from another camera, ready
    to be judged within cameras.

    Then queries and gallery count as two cameras, and the gallery lacks the neighbours in time of each query.
    """
    seen = set(zip(gallery.identities.tolist(), gallery.cameras.tolist(), strict=True))
    cameras: dict[str, set[str]] = defaultdict(set)
    for identity, camera in seen:
        cameras[identity].add(camera)
    asked = zip(query.identities.tolist(), query.cameras.tolist(), strict=True)
    if any(identity != JUNK and cameras[identity] - {camera} for identity, camera in asked):
        return query, gallery
    order = natural_order([*query.paths, *gallery.paths])
    orders = (order[: len(query)], order[len(query) :])
    if query.order is not None and gallery.order is not None:
        orders = query.order, gallery.order
    kept = gallery_apart(
        query.identities, query.cameras, orders[0], gallery.identities, gallery.cameras, orders[1]
    )
    asking = replace(query, cameras=np.char.add(query.cameras, ", asking"), within_camera=True)
    return asking, replace(
        gallery,
        embeddings=gallery.embeddings[kept],
        identities=gallery.identities[kept],
        cameras=gallery.cameras[kept],
        paths=[gallery.paths[row] for row in kept.tolist()],
        order=orders[1][kept],
        within_camera=True,
    )


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """What came of judging one model."""

    report: RankingReport
    # against images of other cameras alone; None where all was judged within cameras
    across: RankingReport | None
    by_cameras: dict[tuple[str, str], RankingReport]  # likewise empty
    verification: VerificationReport
    pairs: npt.NDArray[np.int64]  # (N, 2) rows of query and gallery
    distances: npt.NDArray[np.float64]  # (N,)
    same: npt.NDArray[np.bool_]  # (N,)
    intervals: dict[str, Interval]  # by figure; empty where no bootstrap was asked for


def rank(query: EmbeddedSet, gallery: EmbeddedSet) -> RankingReport:
    """Query against gallery by the Market-1501 protocol."""
    sides = ((side.embeddings, side.identities, side.cameras) for side in (query, gallery))
    return rank_gallery(*next(sides), *next(sides))


def rank_across(query: EmbeddedSet, gallery: EmbeddedSet) -> RankingReport:
    """Query against the images of other cameras alone: strangers seen by the query's own camera are left out,
    too.

    Market-1501's protocol leaves them in, and a model that goes by the background ranks them first.
    """
    plain = distances_between(query.embeddings, gallery.embeddings)

    def elsewhere(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        block = plain(rows)
        block[query.cameras[rows][:, None] == gallery.cameras[None, :]] = np.inf
        return block

    return rank_distances(elsewhere, *labels_of(query, gallery), name="euclidean, other cameras only")


def judge(
    query: EmbeddedSet, gallery: EmbeddedSet, *, bootstrap: int, seed: int, reranked: Distances | None = None
) -> RetrievalResult:
    """Compute every figure.

    Args:
        query: who is looked for.
        gallery: where.
        bootstrap: draws of a confidence interval; 0 for none.
        seed: of the draws of pairs and people.
        reranked: what to rank by instead of the distances of embeddings; verification and cameras stay with
            the embeddings.

    Raises:
        ReidError: bad embeddings, or nobody to find, as the functions called say.
    """
    labels = labels_of(query, gallery)
    report = (
        rank(query, gallery) if reranked is None else rank_distances(reranked, *labels, name="k-reciprocal")
    )
    pairs, same = draw_pairs(*labels, seed=seed)
    distances = pair_distances(query.embeddings, gallery.embeddings, pairs)
    across, by_cameras = None, {}
    if not query.within_camera:
        across = rank_across(query, gallery)
        sides = [(side.embeddings, side.identities, side.cameras) for side in (query, gallery)]
        by_cameras = camera_breakdown(*sides[0], *sides[1])
    intervals = {
        figure: bootstrap_interval(report, query.identities, figure=figure, samples=bootstrap, seed=seed)
        # A single person has no interval over people.
        for figure in (
            ("mean_ap", "rank1")
            if bootstrap and len(set(query.identities[report.query_index].tolist())) > 1
            else ()
        )
    }
    return RetrievalResult(
        report, across, by_cameras, verify(distances, same), pairs, distances, same, intervals
    )


def labels_of(
    query: EmbeddedSet, gallery: EmbeddedSet
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_], npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Identities and cameras in the order that the library's functions take them."""
    return query.identities, query.cameras, gallery.identities, gallery.cameras
