"""Moving people in front of a fixed camera, found without any weights."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv
from scipy.sparse.csgraph import connected_components

from serving.detection.geometry import Boxes, make_detections
from serving.video import Frame

__all__ = ["MotionDetector", "join_fragments", "split_wide"]

Mask = npt.NDArray[np.uint8]
_UPRIGHT = 1.5  # height to width above which a blob may be a whole person
_WIDE = 0.6  # width to height above which a blob may be several people side by side
# of the picture's height: how far aside, above and below grey clothes what is sure may lie
_ASIDE, _REACH = (
    0.005,
    0.15,
)
_PERSON = 0.42  # width to height of one standing person


class MotionDetector:
    """Background subtraction by a mixture of Gaussians for each pixel (Zivkovic 2004), without shadows.

    Fragments of one person (head, legs) are joined when they lie above one another, blobs of several people
    side by side are cut between them. Works on a picture at most ``work_height`` high, so its cost does not
    grow with the camera's resolution. A frame of which more than half has changed holds no detection: the
    light was switched or the camera was moved.
    """

    warm_up = 100
    at_once = 1
    others = None

    def __init__(self, min_size: tuple[int, int] = (8, 24), work_height: int = 480) -> None:
        self.min_size, self.work_height = min_size, work_height
        self._background = cv2.createBackgroundSubtractorMOG2(
            history=1000, varThreshold=36, detectShadows=True
        )
        self._seen = 0

    def detect(self, frames: Sequence[Frame]) -> list[sv.Detections]:
        """Detections of each frame, with confidence 1; frames come in order of time."""
        return [self._one(frame.image) for frame in frames]

    def _one(self, image: npt.NDArray[np.uint8]) -> sv.Detections:
        height, width = image.shape[:2]
        scale = min(1.0, self.work_height / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        changed = self._background.apply(
            cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        )
        self._seen += 1
        mask = people_mask(changed)
        if self._seen == 1 or np.count_nonzero(mask) > 0.5 * mask.size:
            return sv.Detections.empty()
        boxes = np.concatenate(
            [split_wide(mask, box) for box in _blobs(mask)] or [np.zeros((0, 4), np.float32)]
        )
        return make_detections(boxes / scale, np.ones(len(boxes), np.float32), width, height, self.min_size)


def people_mask(changed: Mask) -> Mask:
    """Where people are, 1, in a picture (H, W) of unchanged 0, shadow 127 and changed 255.

    Grey clothes look like a shadow: what does so belongs to a person when there is something of the person
    above and below it. A cast shadow has nothing below.
    """
    sure: Mask = (changed == 255).astype(np.uint8)
    wide = cv2.dilate(sure, np.ones((1, 2 * max(1, round(_ASIDE * len(sure))) + 1), np.uint8))
    reach = max(1, round(_REACH * len(sure)))
    column = np.ones((reach, 1), np.uint8)
    above = cv2.dilate(wide, column, anchor=(0, reach - 1))
    below = cv2.dilate(wide, column, anchor=(0, 0))
    sure[(changed == 127) & (above > 0) & (below > 0)] = 1
    return sure


def join_fragments(boxes: Boxes, reach: float) -> Boxes:
    """Replace boxes (N, 4) xyxy of parts of one person by the box around them.

    Two boxes belong together when they share at least half of the narrower one's width, at most ``reach``
    pixels lie between them vertically, and they are not two upright boxes of about one height, which are two
    people; belonging is transitive.
    """
    if len(boxes) < 2:
        return boxes
    left, top, right, bottom = boxes.T
    height = bottom - top
    shared = np.minimum.outer(right, right) - np.maximum.outer(left, left)
    narrow = np.minimum.outer(right - left, right - left)
    between = np.maximum.outer(top, top) - np.minimum.outer(bottom, bottom)
    upright = height >= _UPRIGHT * (right - left)
    alike = np.minimum.outer(height, height) >= 0.5 * np.maximum.outer(height, height)
    people = np.logical_and.outer(upright, upright) & alike
    together = (shared >= 0.5 * narrow) & (between <= reach) & ~people
    count, group = connected_components(together, directed=False)
    joined = np.empty((count, 4), boxes.dtype)
    for side, reduce in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        joined[:, side] = np.inf if side < 2 else -np.inf
        reduce.at(joined[:, side], group, boxes[:, side])
    return joined


def split_wide(mask: Mask, box: Boxes) -> Boxes:
    """Cut the blob in ``box`` (4,) xyxy of a mask (H, W) of 0 and 1 into people side by side: (N, 4), N >= 1.

    A cut is made near where it would be if all were of one width, in the column with least foreground, when
    there is clearly less of it than on both sides.
    """
    x0, y0, x1, y1 = (int(value) for value in box)
    width, height = x1 - x0, y1 - y0
    people = round(width / (_PERSON * height))
    if width <= _WIDE * height or people < 2:
        return box[None]
    filled = np.convolve(mask[y0:y1, x0:x1].sum(axis=0, dtype=np.float64), np.ones(3) / 3, mode="same")
    cuts = [0]
    for number in range(1, people):
        low = int((number - 0.35) * width / people)
        high = max(low + 1, int((number + 0.35) * width / people))
        at = low + int(filled[low:high].argmin())
        if filled[at] <= 0.8 * min(filled[cuts[-1] : at + 1].max(), filled[at:].max()):
            cuts.append(at)
    parts = []
    for begin, end in zip(cuts, [*cuts[1:], width], strict=True):
        rows = np.flatnonzero(mask[y0:y1, x0 + begin : x0 + end].any(axis=1))
        if len(rows):
            parts.append((x0 + begin, y0 + rows[0], x0 + end, y0 + rows[-1] + 1))
    return np.asarray(parts, np.float32)


def _blobs(mask: Mask) -> Boxes:
    mask[:] = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    # Closes gaps inside one body; narrow, for people who walk side by side are not to be closed together.
    reach = max(3, round(mask.shape[0] * 0.03)) | 1
    mask[:] = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((reach, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    blobs = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= 12].astype(np.float32)
    boxes = np.column_stack([blobs[:, :2], blobs[:, :2] + blobs[:, 2:4]])
    return join_fragments(boxes, 0.15 * float(np.median(blobs[:, 3]))) if len(boxes) else boxes
