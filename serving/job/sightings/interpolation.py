"""The boxes of sightings, streamed segment by segment, with short gaps filled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from serving.job.layout import WorkFolder
from serving.job.segments.segment import Segment
from serving.job.sightings.sightings import Sighting

__all__ = ["Boxes", "boxes_of", "interpolate"]


@dataclass(frozen=True)
class Boxes:
    """N boxes: ``frame (N,)``, ``sighting (N,)`` its number, ``xywh (N, 4)`` float32 pixels, ``confidence
    (N,)``, 0 where filled in.
    """

    frame: npt.NDArray[np.int64]
    sighting: npt.NDArray[np.int64]
    xywh: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, index: npt.NDArray[np.int64]) -> "Boxes":
        """The rows at ``index``."""
        return Boxes(self.frame[index], self.sighting[index], self.xywh[index], self.confidence[index])


def boxes_of(
    sightings: Sequence[Sighting], segments: Sequence[Segment], work: WorkFolder, step: int, max_gap: int
) -> Iterator[Boxes]:
    """The boxes of a camera, one batch a segment, ordered by frame and sighting within it.

    A batch may also hold boxes of up to ``max_gap`` frames before its segment, filled in across the border.
    Boxes of tracklets that belong to no sighting are left out.
    """
    number = {(member.segment, member.raw): one.number for one in sightings for member in one.members}
    last: dict[int, tuple[int, npt.NDArray[np.float32]]] = {}
    for segment in segments:
        table = pq.read_table(work.segment(segment.name).boxes, filters=[("frame", ">=", segment.first)])
        sighting = np.asarray(
            [number.get((segment.index, raw), 0) for raw in table["raw"].to_pylist()], np.int64
        )
        xywh = np.column_stack([table[name].to_numpy() for name in "xywh"]).astype(np.float32)
        found = Boxes(table["frame"].to_numpy(), sighting, xywh, table["confidence"].to_numpy())
        yield interpolate(_unique(found.take(np.flatnonzero(sighting > 0))), last, step, max_gap)


def interpolate(
    boxes: Boxes, last: dict[int, tuple[int, npt.NDArray[np.float32]]], step: int, max_gap: int
) -> Boxes:
    """Add boxes on the straight line across gaps of at most ``max_gap`` frames; at most one box a sighting
    and frame is given.

    ``last`` holds the last frame and box of each sighting; it is read and brought up to date.
    """
    frames, sightings, lines = [boxes.frame], [boxes.sighting], [boxes.xywh]
    order = np.lexsort((boxes.frame, boxes.sighting))
    for row in order:
        key = int(boxes.sighting[row])
        frame = int(boxes.frame[row])
        box = boxes.xywh[row]
        before = last.get(key)
        last[key] = (frame, box)
        if before is None or not step < frame - before[0] <= max_gap:
            continue
        between = np.arange(before[0] + step, frame, step)
        share = ((between - before[0]) / (frame - before[0]))[:, None].astype(np.float32)
        frames.append(between)
        sightings.append(np.full(len(between), key, np.int64))
        lines.append((1 - share) * before[1] + share * box)
    added = sum(len(part) for part in frames[1:])
    confidence = np.concatenate([boxes.confidence, np.zeros(added, np.float32)])
    merged = Boxes(
        np.concatenate(frames),
        np.concatenate(sightings),
        np.concatenate(lines).astype(np.float32),
        confidence,
    )
    return merged.take(np.lexsort((merged.sighting, merged.frame)))


def _unique(boxes: Boxes) -> Boxes:
    # Two tracklets of one sighting may share a frame where one was begun a frame early.
    order = np.lexsort((-boxes.confidence, boxes.sighting, boxes.frame))
    boxes = boxes.take(order)
    new = np.ones(len(boxes), bool)
    new[1:] = (np.diff(boxes.frame) != 0) | (np.diff(boxes.sighting) != 0)
    return boxes.take(np.flatnonzero(new))
