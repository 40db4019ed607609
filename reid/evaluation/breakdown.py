"""Ranking between each pair of cameras: which view is hard to find again in which other."""

import numpy as np
import numpy.typing as npt

from reid.evaluation.checks import Labels, Metric, as_embeddings, is_junk, sides_of
from reid.evaluation.ranking import AveragePrecision, RankingReport, rank_gallery

__all__ = ["camera_breakdown"]


def camera_breakdown(
    query: npt.ArrayLike,
    query_ids: Labels,
    query_cams: Labels,
    gallery: npt.ArrayLike,
    gallery_ids: Labels,
    gallery_cams: Labels,
    metric: Metric = "euclidean",
    *,
    ap: AveragePrecision = "rectangle",
) -> dict[tuple[str, str], RankingReport]:
    """Rank each camera's queries in each other camera's gallery alone; arguments as for ``rank_gallery``.

    Returns:
        A report for every (query camera, gallery camera) pair, sorted; pairs in which no query has a match
            are absent.
    """
    probes, images = as_embeddings(query, "query"), as_embeddings(gallery, "gallery")
    sides = sides_of(query_ids, query_cams, gallery_ids, gallery_cams, len(probes), len(images))
    reports = {}
    for ours in np.unique(sides.query_cams):
        rows = np.flatnonzero(sides.query_cams == ours)
        for theirs in np.unique(sides.gallery_cams[sides.gallery_cams != ours]):
            columns = np.flatnonzero(sides.gallery_cams == theirs)
            shared = np.intersect1d(sides.query_ids[rows], sides.gallery_ids[columns])
            if is_junk(shared).all():
                continue
            reports[str(ours), str(theirs)] = rank_gallery(
                probes[rows],
                sides.query_ids[rows],
                sides.query_cams[rows],
                images[columns],
                sides.gallery_ids[columns],
                sides.gallery_cams[columns],
                metric,
                ap=ap,
            )
    return reports
