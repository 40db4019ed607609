"""Validation: how well the network finds people whom it was not trained on."""

import numpy as np
import numpy.typing as npt

from reid.evaluation import rank_gallery
from reid.evaluation.within_camera import seen_by_two, views
from reid.models.embedder import EmbeddingModel
from reid.models.inference import embed_images

__all__ = ["validate"]


def validate(
    model: EmbeddingModel,
    images: npt.NDArray[np.uint8],
    identities: npt.NDArray[np.str_],
    cameras: npt.NDArray[np.str_],
    order: npt.NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """Cross-camera mAP, rank-1 and mINP among people held out, every image asking all others; empty where
    nobody has a match.

    Where nobody is seen by two cameras, within the camera: see :mod:`reid.evaluation.within_camera`.

    Args:
        model: the network.
        images: (N, H, W, 3) RGB; may be a memory map.
        identities: (N,).
        cameras: (N,).
        order: (N,) numbers that rise with time; None where the images are in order.
    """
    ranked = views(identities, cameras, np.arange(len(images)) if order is None else order)
    if not seen_by_two(identities[ranked.rows], ranked.cameras):
        return {}
    everyone = (embed_images(model, images)[ranked.rows], identities[ranked.rows], ranked.cameras)
    report = rank_gallery(*everyone, *everyone)
    return {
        "val_mean_ap": float(report.mean_ap),
        "val_rank1": float(report.cmc[0]),
        "val_mean_inp": float(report.mean_inp),
    }
