"""Ranking by the Market-1501 protocol (Zheng 2015, section 4): CMC, mAP and mINP, without ever holding the
query x gallery matrix.

Ranks are counted, not sorted: the rank of a match is one plus the number of gallery images before it, so a
block of distances is read a few times and forgotten. Ties are broken by the gallery's order, as a stable sort
of each row would.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.blocks import Distances, block_height, ordering
from reid.evaluation.checks import (
    Labels,
    Metric,
    for_metric,
    is_junk,
    query_and_gallery,
    sides_of,
)

__all__ = ["AveragePrecision", "RankingReport", "rank_distances", "rank_gallery"]

AveragePrecision = Literal["rectangle", "trapezoid"]

_SORT_ABOVE = 200  # matches of one query from which one stable sort is cheaper than counting for each


@dataclass(frozen=True, eq=False)
class RankingReport:
    """How well a gallery was ranked. Figures are means over the valid queries, in 0..1."""

    cmc: npt.NDArray[np.float64]  # (max_rank,): share of queries with a match at or before each rank
    mean_ap: float
    mean_inp: float
    valid_queries: int
    skipped_queries: int  # no match left in the gallery, or junk themselves
    query_index: npt.NDArray[np.int64]  # (V,) row of each valid query
    per_query_ap: npt.NDArray[np.float64]  # (V,)
    per_query_inp: npt.NDArray[np.float64]  # (V,)
    first_rank: npt.NDArray[np.int64]  # (V,) rank of the nearest match, from 1
    gallery_images: int  # without junk
    junk_images: int  # gallery images with identity -1, left out
    metric: str
    ap: str

    def rank(self, k: int) -> float:
        """Share of valid queries with a match among the ``k`` nearest, for any k >= 1."""
        if k < 1:
            raise UsageError(f"rank {k} does not exist: ranks start at 1")
        return float(np.mean(self.first_rank <= k))

    def per_query(self, figure: str) -> npt.NDArray[np.float64]:
        """A figure for each valid query: ``mean_ap``, ``mean_inp`` or ``rank<k>``."""
        if figure == "mean_ap":
            return self.per_query_ap
        if figure == "mean_inp":
            return self.per_query_inp
        if figure.startswith("rank") and figure[4:].isdecimal() and int(figure[4:]) > 0:
            return (self.first_rank <= int(figure[4:])).astype(np.float64)
        raise UsageError(f"figure {figure!r} is unknown: want mean_ap, mean_inp or rank1, rank5, ...")

    def summary(self) -> dict[str, float | int | str]:
        """The figures as plain values, ready for a metrics file."""
        ranks = {f"rank{k}": self.rank(k) for k in (1, 5, 10, 20)}
        counts = {
            "valid_queries": self.valid_queries,
            "skipped_queries": self.skipped_queries,
            "gallery_images": self.gallery_images,
        }
        return {
            **ranks,
            "mean_ap": self.mean_ap,
            "mean_inp": self.mean_inp,
            **counts,
            "ap": self.ap,
            "metric": self.metric,
        }


def rank_gallery(
    query: npt.ArrayLike,
    query_ids: Labels,
    query_cams: Labels,
    gallery: npt.ArrayLike,
    gallery_ids: Labels,
    gallery_cams: Labels,
    metric: Metric = "euclidean",
    *,
    ap: AveragePrecision = "rectangle",
    max_rank: int = 50,
) -> RankingReport:
    """Rank the gallery for every query and report CMC, mAP and mINP.

    For each query the gallery images of the same identity *and* camera are left out; identity -1 is junk and
    left out everywhere; distractors stay. Distances are compared in float32; among equal ones the lower
    gallery row comes first.

    >>> query, gallery = [[1.0, 0.0], [0.0, 1.0]], [[0.9, 0.1], [0.1, 0.9], [1.0, 0.1]]
    >>> report = rank_gallery(query, ["anna", "bert"], [1, 1], gallery, ["anna", "carl", "bert"], [2, 2, 2])
    >>> float(report.cmc[0]), round(report.mean_ap, 2)
    (0.0, 0.42)

    Args:
        query: embeddings (Q, D).
        query_ids: identities (Q,), integers or strings.
        query_cams: cameras (Q,).
        gallery: embeddings (G, D).
        gallery_ids: identities (G,), of the same kind as ``query_ids``.
        gallery_cams: cameras (G,).
        metric: ``euclidean`` (not squared; the square orders the same) or ``cosine``.
        ap: ``rectangle`` sums precision at each match, as torchreid does; ``trapezoid`` averages it with the
            precision one rank before, as the original Market-1501 code does.
        max_rank: length of the CMC, at most the gallery's size.

    Raises:
        ReidError: embeddings are empty, not finite or of different dimension, labels have another length or
            kind, or no query has a match.
        UsageError: the metric or the kind of average precision is unknown.
    """
    probes, images = query_and_gallery(query, gallery)
    plan = _plan(query_ids, query_cams, gallery_ids, gallery_cams, len(probes), len(images))
    probes, images = for_metric(probes, "query", metric), for_metric(images, "gallery", metric)
    if len(plan.kept) < len(images):
        images = images[plan.kept]
    return _report(ordering(probes, images), plan, metric, ap, max_rank)


def rank_distances(
    distances: Distances,
    query_ids: Labels,
    query_cams: Labels,
    gallery_ids: Labels,
    gallery_cams: Labels,
    *,
    name: str,
    ap: AveragePrecision = "rectangle",
    max_rank: int = 50,
) -> RankingReport:
    """Rank by any distances that come in blocks of queries: re-ranked ones, or those of a learned metric.

    Args:
        distances: gives for query rows (B,) their float32 distances (B, G) to the whole gallery; smaller is
            nearer. The block is written over.
        query_ids: as for ``rank_gallery``, and so are the labels that follow.
        query_cams: (Q,).
        gallery_ids: (G,).
        gallery_cams: (G,).
        name: what the distances are; kept as ``metric`` in the report.
        ap: as for ``rank_gallery``.
        max_rank: as for ``rank_gallery``.

    Raises:
        ReidError: labels have another length or kind, no query has a match, or a block has another shape or
            holds NaN.
        UsageError: the kind of average precision is unknown.
    """
    plan = _plan(
        query_ids, query_cams, gallery_ids, gallery_cams, np.shape(query_ids)[0], np.shape(gallery_ids)[0]
    )

    def kept(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        block = distances(rows)
        if block.shape != (len(rows), plan.images):
            raise ReidError(
                f"{name} distances have shape {block.shape} for {len(rows)} queries and {plan.images} "
                "gallery images"
            )
        if np.isnan(block).any():
            raise ReidError(
                f"{name} distances hold {np.isnan(block).sum()} NaN for query rows {rows[0]} to {rows[-1]}"
            )
        return block if len(plan.kept) == plan.images else block[:, plan.kept]

    return _report(kept, plan, name, ap, max_rank)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which gallery rows count for a query, and which are left out. Gallery rows are numbered without
    junk.
    """

    rows_of: dict[int, npt.NDArray[np.int64]]
    probe_ids: npt.NDArray[np.int64]
    probe_cams: npt.NDArray[np.int64]
    image_cams: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    images: int  # with junk

    def positives(self, probe: int) -> npt.NDArray[np.int64]:
        rows = self._same_identity(probe)
        return rows[self.image_cams[rows] != self.probe_cams[probe]]

    def left_out(self, probe: int) -> npt.NDArray[np.int64]:
        rows = self._same_identity(probe)
        return rows[self.image_cams[rows] == self.probe_cams[probe]]

    def _same_identity(self, probe: int) -> npt.NDArray[np.int64]:
        return self.rows_of.get(int(self.probe_ids[probe]), _NO_ROWS)


_NO_ROWS = np.empty(0, dtype=np.int64)


def _plan(
    query_ids: Labels, query_cams: Labels, gallery_ids: Labels, gallery_cams: Labels, probes: int, images: int
) -> _Plan:
    sides = sides_of(query_ids, query_cams, gallery_ids, gallery_cams, probes, images)
    kept, wanted = np.flatnonzero(~is_junk(sides.gallery_ids)), np.flatnonzero(~is_junk(sides.query_ids))
    if not len(kept) or not len(wanted):
        side = "query" if not len(wanted) else "gallery"
        raise ReidError(
            f"no query has a match because the {side} holds only junk (identity -1): check how "
            "identities are read"
        )
    plan = _Plan(
        _rows_by_code(sides.ids[1][kept]),
        sides.ids[0],
        sides.cams[0],
        sides.cams[1][kept],
        wanted,
        kept,
        images,
    )
    valid = np.asarray([row for row in wanted.tolist() if len(plan.positives(row))], dtype=np.int64)
    if not len(valid):
        searched, there = sides.query_ids[wanted], sides.gallery_ids[kept]
        raise ReidError(_why_no_match(searched, there, sides.query_cams, sides.gallery_cams))
    return replace(plan, valid=valid)


def _rows_by_code(codes: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.int64]]:
    order = np.argsort(codes, kind="stable")
    values, starts = np.unique(codes[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))


def _report(distances: Distances, plan: _Plan, metric: str, ap: str, max_rank: int) -> RankingReport:
    if ap not in ("rectangle", "trapezoid"):
        raise UsageError(f"average precision {ap!r} is unknown: want rectangle or trapezoid")
    if max_rank < 1:
        raise UsageError(f"max_rank is {max_rank}: want at least 1")
    figures = np.asarray([_figures(ranks, ap) for ranks in _ranks(distances, plan)])
    first = figures[:, 0].astype(np.int64)
    length = min(max_rank, len(plan.kept))
    cmc = np.cumsum(np.bincount(np.minimum(first, length + 1), minlength=length + 2)[1 : length + 1]) / len(
        first
    )
    return RankingReport(
        cmc=cmc,
        mean_ap=float(figures[:, 1].mean()),
        mean_inp=float(figures[:, 2].mean()),
        valid_queries=len(first),
        skipped_queries=len(plan.probe_ids) - len(first),
        query_index=plan.valid,
        per_query_ap=figures[:, 1],
        per_query_inp=figures[:, 2],
        first_rank=first,
        gallery_images=len(plan.kept),
        junk_images=plan.images - len(plan.kept),
        metric=metric,
        ap=ap,
    )


def _ranks(distances: Distances, plan: _Plan) -> Iterator[npt.NDArray[np.int64]]:
    """Yield for each valid probe the ranks of its matches, ascending from 1."""
    height = block_height(len(plan.kept))
    before = np.empty(len(plan.kept), dtype=np.bool_)
    for start in range(0, len(plan.valid), height):
        probes = plan.valid[start : start + height]
        for row, probe in zip(distances(probes), probes.tolist(), strict=True):
            row[plan.left_out(probe)] = np.inf
            yield _ranks_in_row(row, plan.positives(probe), before)


def _ranks_in_row(
    row: npt.NDArray[np.float32], positives: npt.NDArray[np.int64], before: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    if len(positives) > _SORT_ABOVE:
        place = np.empty(len(row), dtype=np.int64)
        place[np.argsort(row, kind="stable")] = np.arange(1, len(row) + 1)
        return np.sort(place[positives])
    ranks = np.empty(len(positives), dtype=np.int64)
    for number, column in enumerate(positives.tolist()):
        score = row[column]
        # An equal distance counts only when its image comes earlier in the gallery.
        np.less_equal(row[:column], score, out=before[:column])
        np.less(row[column:], score, out=before[column:])
        ranks[number] = np.count_nonzero(before) + 1
    ranks.sort()
    return ranks


def _figures(ranks: npt.NDArray[np.int64], ap: str) -> tuple[float, float, float]:
    """First rank, AP and INP (Ye 2021, section 3: matches over the rank of the hardest one) of one query."""
    found = np.arange(1, len(ranks) + 1)
    precision = found / ranks
    if ap == "trapezoid":
        precision = (precision + np.where(ranks > 1, (found - 1) / np.maximum(ranks - 1, 1), 1.0)) / 2
    return float(ranks[0]), float(precision.mean()), len(ranks) / float(ranks[-1])


def _why_no_match(
    probe_ids: npt.NDArray[Any],
    image_ids: npt.NDArray[Any],
    probe_cams: npt.NDArray[Any],
    image_cams: npt.NDArray[Any],
) -> str:
    cameras = np.unique(np.concatenate([probe_cams, image_cams]))
    shared = np.intersect1d(probe_ids, image_ids)
    if not len(shared):
        return (
            f"no query has a match because none of the {len(np.unique(probe_ids))} query identities is "
            "among the "
            f"{len(np.unique(image_ids))} gallery identities: check the split and how identities are written"
        )
    if len(cameras) == 1:
        return (
            f"no query has a match because every image is from camera {cameras[0]}, and matches must "
            "come from another camera: "
            "check how cameras are read"
        )
    return (
        f"no query has a match because all {len(shared)} shared identities were seen by one camera "
        "only: want matches from another"
    )
