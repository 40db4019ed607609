"""What a segment stores of its tracklets: a row a box, and a row a tracklet with its pooled embedding and
best crop.
"""

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reid.embeddings import pool
from serving.job.layout import xywh_columns
from serving.tracking import Tracklet

__all__ = ["NO_ROWS", "PEOPLE", "crop_weights", "person_row", "rows_of"]

_AROUND = 15  # frames
_END = 8  # frames, from whose first and last the speed at a tracklet's end is taken
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]

NO_ROWS = pa.table(
    {
        "raw": pa.array([], pa.int64()),
        "frame": pa.array([], pa.int64()),
        "time_s": pa.array([], pa.float64()),
        **{side: pa.array([], pa.float32()) for side in ("x", "y", "w", "h", "confidence")},
    }
)
PEOPLE = pa.schema(
    [
        ("raw", pa.int64()),
        ("first_frame", pa.int64()),
        ("last_frame", pa.int64()),
        ("first_s", pa.float64()),
        ("last_s", pa.float64()),
        ("frames", pa.int64()),  # that the segment owns
        ("sure", pa.int64()),  # of these: as confident as what starts a tracklet
        ("head", pa.list_(pa.float32())),  # box at the start, then its velocity in pixels a second
        ("tail", pa.list_(pa.float32())),
        ("embedding", pa.list_(pa.float32())),
        ("weight", pa.float64()),
        ("best_frame", pa.int64()),
        ("best_quality", pa.float64()),
        ("best_box", pa.list_(pa.float32())),
        ("best_jpeg", pa.binary()),
    ]
)


def rows_of(one: Tracklet) -> pa.Table:
    """One row for each box of a tracklet."""
    return pa.table(
        {
            "raw": np.full(len(one.frames), one.id, np.int64),
            "frame": one.frames,
            "time_s": one.times_s,
            **xywh_columns(one.boxes),
            "confidence": one.confidence,
        }
    )


def person_row(
    one: Tracklet, vectors: npt.NDArray[np.float32], first: int, activation: float
) -> dict[str, object]:
    """The row of a tracklet whose crops have embeddings (N, D), in a segment that owns frames from ``first``
    on.
    """
    weights = crop_weights(one, vectors)
    best = one.crops[int(weights.argmax())]
    head, tail = _of_end(one.stands_for[1:]), _of_end(one.stands_for[:0:-1])
    return {
        "raw": one.id,
        "first_frame": int(one.frames[0]),
        "last_frame": int(one.frames[-1]),
        "first_s": float(one.times_s[0]),
        "last_s": float(one.times_s[-1]),
        "frames": int(one.stands_for[one.frames >= first].sum()),
        "sure": int(one.stands_for[(one.frames >= first) & (one.confidence >= activation)].sum()),
        "head": _end(one.boxes[:head], one.times_s[:head], 0),
        "tail": _end(one.boxes[-tail:], one.times_s[-tail:], -1),
        "embedding": pool(vectors, weights),
        "weight": float(weights.sum()),
        "best_frame": best.frame,
        "best_quality": float(weights.max()),
        "best_box": list(best.box),
        "best_jpeg": cv2.imencode(".jpg", best.image, _JPEG)[1].tobytes(),
    }


def crop_weights(one: Tracklet, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """How much each crop counts: its quality, less when it is not as high as the boxes around its time or
    looks unlike the others.

    Such crops show part of a person, several people, or what stands before them.
    """
    quality = np.asarray([crop.quality for crop in one.crops]) + 1e-3
    heights = one.boxes[:, 3] - one.boxes[:, 1]
    usual = np.asarray([np.median(heights[np.abs(one.frames - crop.frame) <= _AROUND]) for crop in one.crops])
    odd = np.log(np.asarray([crop.box[3] - crop.box[1] for crop in one.crops]) / np.maximum(usual, 1.0))
    similar = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    others = (similar.sum(axis=1) - 1.0) / max(len(vectors) - 1, 1)
    alike = np.exp((others - others.max()) / 0.1) if len(vectors) > 2 else np.ones(len(vectors))
    weights: npt.NDArray[np.float64] = quality * np.exp(-((odd / 0.25) ** 2)) * alike
    return weights + 1e-6


def _of_end(stands_for: npt.NDArray[np.int64]) -> int:
    """How many boxes tell the speed at a tracklet's end, of which each stands for so many frames after the
    one before it.
    """
    return 2 + int(np.searchsorted(np.cumsum(stands_for), _END - 1))


def _end(boxes: npt.NDArray[np.float32], times_s: npt.NDArray[np.float64], which: int) -> list[float]:
    elapsed = float(times_s[-1] - times_s[0])
    velocity = (boxes[-1] - boxes[0]) / elapsed if elapsed > 0 else np.zeros(4, np.float32)
    return [*map(float, boxes[which]), *map(float, velocity)]
