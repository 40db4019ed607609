"""Boxes of a frame as the library's ``Detections``: made, clipped, and chosen by region."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

__all__ = ["Boxes", "inside", "make_detections"]

Boxes = npt.NDArray[np.float32]


def make_detections(
    boxes: Boxes, confidence: Boxes, width: int, height: int, min_size: tuple[int, int]
) -> sv.Detections:
    """Detections of people from boxes (N, 4) xyxy and confidences (N,), clipped to the frame; smaller ones
    are dropped.
    """
    boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    size = boxes[:, 2:] - boxes[:, :2]
    keep = (size >= min_size).all(axis=1)
    return sv.Detections(
        xyxy=boxes[keep],
        confidence=confidence[keep].astype(np.float32),
        class_id=np.zeros(int(keep.sum()), int),
    )


def inside(detections: sv.Detections, region: Sequence[tuple[float, float]]) -> sv.Detections:
    """The detections whose feet (middle of the lower edge) are inside a polygon; all of them when there is
    none.
    """
    if not region or not len(detections):
        return detections
    polygon = np.asarray(region, np.float32).reshape(-1, 1, 2)
    feet = np.column_stack([detections.xyxy[:, [0, 2]].mean(axis=1), detections.xyxy[:, 3]])
    mask = np.asarray([cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0 for x, y in feet])
    return detections[mask]
