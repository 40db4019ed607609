"""Which images to show: what a query finds, and the pairs that fool the model most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.blocks import Distances
from reid.evaluation.checks import Labels, is_junk, sides_of
from reid.evaluation.pairs import PairIndex

__all__ = ["HardPairs", "RankedList", "ShownList", "hardest_pairs", "ranked_lists"]

ShownList = tuple[Path | str, Sequence[tuple[Path | str, bool] | tuple[Path | str, bool, float]]]
"""A query's image file and what it finds, nearest first: image file, right or wrong, and the distance
where it is known.
"""


@dataclass(frozen=True, eq=False)
class RankedList:
    """The nearest gallery images of one query, by the protocol of ``rank_gallery``."""

    query: int  # row
    gallery: npt.NDArray[np.int64]  # (k,) rows, nearest first
    distances: npt.NDArray[np.float32]  # (k,)
    right: npt.NDArray[np.bool_]  # (k,) whether the identity is the query's

    def shown(self, query_paths: Sequence[Path | str], gallery_paths: Sequence[Path | str]) -> ShownList:
        """What ``plot_ranked_lists`` draws, given the image files of all query and all gallery rows."""
        results = zip(self.gallery.tolist(), self.right.tolist(), self.distances.tolist(), strict=True)
        return query_paths[self.query], [
            (gallery_paths[row], right, distance) for row, right, distance in results
        ]


@dataclass(frozen=True, eq=False)
class HardPairs:
    """Pairs (n, 2) of query and gallery rows with their distances (n,), worst first."""

    genuine: PairIndex  # one person, far apart
    genuine_distances: npt.NDArray[np.float64]
    impostors: PairIndex  # two people, near
    impostor_distances: npt.NDArray[np.float64]


def ranked_lists(
    distances: Distances,
    rows: npt.ArrayLike,
    query_ids: Labels,
    query_cams: Labels,
    gallery_ids: Labels,
    gallery_cams: Labels,
    *,
    k: int = 10,
) -> list[RankedList]:
    """The ``k`` nearest of each query row in ``rows``, without junk and without the query's identity in its
    own camera.

    Raises:
        ReidError: labels have different lengths or kinds, or a row is not a query.
        UsageError: k is below 1.
    """
    if k < 1:
        raise UsageError(f"ranked lists of {k} images: want at least 1")
    sides = sides_of(query_ids, query_cams, gallery_ids, gallery_cams)
    ours, images = sides.ids
    our_cams, image_cams = sides.cams
    wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
    outside = wanted[(wanted < 0) | (wanted >= len(ours))]
    if len(outside):
        raise ReidError(f"query row {outside[0]} does not exist: there are {len(ours)} queries")
    lists = []
    for row in wanted:
        line = distances(np.asarray([row]))[0]
        right = images == ours[row]
        line[is_junk(sides.gallery_ids) | (right & (image_cams == our_cams[row]))] = np.inf
        nearest = np.argsort(line, kind="stable")[:k]
        nearest = nearest[np.isfinite(line[nearest])]
        lists.append(RankedList(int(row), nearest, line[nearest].copy(), right[nearest]))
    return lists


def hardest_pairs(
    pairs: PairIndex, distances: npt.NDArray[np.float64], same: npt.NDArray[np.bool_], *, count: int = 6
) -> HardPairs:
    """The farthest genuine and the nearest impostor pairs, no gallery image twice among either.

    Args:
        pairs: (N, 2) as from ``draw_pairs``.
        distances: (N,).
        same: (N,).
        count: of each kind, at most.
    """
    genuine, impostors = np.flatnonzero(same), np.flatnonzero(~same)
    worst = _distinct(pairs, genuine[np.argsort(-distances[genuine], kind="stable")], count)
    nearest = _distinct(pairs, impostors[np.argsort(distances[impostors], kind="stable")], count)
    return HardPairs(pairs[worst], distances[worst], pairs[nearest], distances[nearest])


def _distinct(pairs: PairIndex, order: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The first ``count`` of ``order`` whose query and gallery images are all new: one bad image must not
    fill the picture.
    """
    queries: set[int] = set()
    images: set[int] = set()
    chosen: list[int] = []
    for number in order:
        query, image = map(int, pairs[number])
        if query not in queries and image not in images:
            chosen.append(int(number))
            queries.add(query)
            images.add(image)
        if len(chosen) == count:
            break
    return np.asarray(chosen, dtype=np.int64)
