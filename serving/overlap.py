"""How much boxes overlap. In float64, because scores meet thresholds; supervision gives float32 and takes a
second to import.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["box_iou"]

Floats = npt.NDArray[np.float64]


def box_iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (N, 4) and (M, 4) xyxy: (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)
