"""Ranking between each pair of cameras: which view is hard to find again in which other."""

import numpy as np
import numpy.typing as npt

from reid.evaluation.checks import Labels, Metric, as_embeddings, as_labels, encode, is_junk
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
    probe_ids, image_ids = (
        as_labels(query_ids, "query ids", len(probes)),
        as_labels(gallery_ids, "gallery ids", len(images)),
    )
    probe_cams, image_cams = (
        as_labels(query_cams, "query cameras", len(probes)),
        as_labels(gallery_cams, "gallery cameras", len(images)),
    )
    encode(probe_ids, image_ids, "identities")
    encode(probe_cams, image_cams, "cameras")
    reports = {}
    for ours in np.unique(probe_cams):
        rows = np.flatnonzero(probe_cams == ours)
        for theirs in np.unique(image_cams[image_cams != ours]):
            columns = np.flatnonzero(image_cams == theirs)
            shared = np.intersect1d(probe_ids[rows], image_ids[columns])
            if is_junk(shared).all():
                continue
            reports[str(ours), str(theirs)] = rank_gallery(
                probes[rows],
                probe_ids[rows],
                probe_cams[rows],
                images[columns],
                image_ids[columns],
                image_cams[columns],
                metric,
                ap=ap,
            )
    return reports
