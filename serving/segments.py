"""A segment: a stretch of one camera's footage, worked through on its own and stored whole or not at all.

Segments are what a job is resumed by and what several workers share. Each begins ``OVERLAP_S`` before the frames it owns, so
that people who walk across a border are followed on both sides of it and can be joined again by their boxes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reid.files import atomic_directory, write_json
from serving.detection import Detector, inside
from serving.job import Camera
from serving.matching import pool
from serving.runtime import Embedder
from serving.tracking import Tracklet, TrackletBuilder
from serving.video import Footage, ahead, queue_length, read_frames

__all__ = ["OVERLAP_S", "Segment", "SegmentCounts", "frames_of", "plan_segments", "process_segment"]

OVERLAP_S = 2.0
_EMBED_BATCH = 32
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames ``first`` to ``last`` of a camera are owned, those from ``begin`` on are tracked too. All from 1, included."""

    camera: str
    index: int
    begin: int
    first: int
    last: int | None  # None: to the end of a stream

    @property
    def name(self) -> str:
        """The segment's folder."""
        return f"{self.camera}-{self.index:05d}"


@dataclass
class SegmentCounts:
    """What a segment saw, and the seconds that each step took."""

    frames: int = 0
    detections: int = 0
    tracklets: int = 0
    crops: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, step: str, since: float) -> float:
        """Charge the time since ``since`` to a step; return now."""
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - since
        return now


def plan_segments(camera: Camera, footage: Footage, segment_s: float) -> list[Segment]:
    """Cut a camera's frames into segments of about ``segment_s`` seconds; a stream is one segment."""
    first, last = camera.frames or (1, footage.frames or None)
    if footage.live:
        return [Segment(camera.id, 0, first, first, last)]
    last = min(last or footage.frames, footage.frames)
    if last < first:
        return []
    length = max(1, round(segment_s * footage.fps / camera.step)) * camera.step
    overlap = max(1, round(OVERLAP_S * footage.fps / camera.step)) * camera.step
    starts = list(range(first, last + 1, length))
    if len(starts) > 1 and last + 1 - starts[-1] < overlap:
        starts.pop()  # too short to stand alone
    ends = [start - 1 for start in starts[1:]] + [last]
    return [
        Segment(camera.id, index, max(first, start - overlap) if index else first, start, end)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def process_segment(
    segment: Segment,
    camera: Camera,
    footage: Footage,
    detector: Detector,
    builder: TrackletBuilder,
    embedder: Embedder,
    folder: Path,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Detect, track and embed one segment into ``folder``, which appears whole or not at all.

    It holds ``detections.parquet``, ``tracklets.parquet`` and ``counts.json``.
    """
    counts = SegmentCounts()
    warm = max(1, segment.begin - detector.warm_up * camera.step)
    warm += (segment.begin - warm) % camera.step
    batch = min(4, queue_length(footage))
    frames = ahead(read_frames(footage, warm, segment.last, camera.step), queue_length(footage))
    rows: list[pa.Table] = []
    people: list[dict[str, object]] = []
    waiting: list[Tracklet] = []

    def embed(least: int) -> None:
        while waiting and sum(len(one.crops) for one in waiting) >= least:
            group = _take(waiting, _EMBED_BATCH)
            people.extend(_person(one, vectors) for one, vectors in zip(group, _embed(group, embedder), strict=True))
            counts.crops += sum(len(one.crops) for one in group)

    def take(done: list[Tracklet]) -> None:
        owned = [one for one in done if one.frames[-1] >= segment.first]
        waiting.extend(owned)
        rows.extend(_rows(one) for one in owned)
        counts.detections += sum(int((one.frames >= segment.first).sum()) for one in owned)
        counts.tracklets += len(owned)

    clock = time.perf_counter()
    while group := list(islice(frames, batch)):
        clock = counts.add("wait_for_decoding", clock)
        found = detector.detect(group)
        clock = counts.add("detection", clock)
        for frame, detections in zip(group, found, strict=True):
            if frame.number >= segment.begin:
                take(builder.update(frame, inside(detections, camera.region)))
            if frame.number >= segment.first:
                counts.frames += 1
                on_frame()
        clock = counts.add("tracking", clock)
        embed(_EMBED_BATCH)
        clock = counts.add("embedding", clock)
    take(builder.finish())
    embed(1)
    clock = counts.add("embedding", clock)
    with atomic_directory(folder) as temporary:
        pq.write_table(pa.concat_tables([_NO_ROWS, *rows]), temporary / "detections.parquet")
        pq.write_table(pa.Table.from_pylist(people, schema=_PEOPLE), temporary / "tracklets.parquet")
        counts.add("storing", clock)
        write_json(temporary / "counts.json", asdict(counts))


_NO_ROWS = pa.table(
    {
        "raw": pa.array([], pa.int64()),
        "frame": pa.array([], pa.int64()),
        "time_s": pa.array([], pa.float64()),
        **{side: pa.array([], pa.float32()) for side in ("x", "y", "w", "h", "confidence")},
    }
)
_PEOPLE = pa.schema(
    [
        ("raw", pa.int64()),
        ("first_frame", pa.int64()),
        ("last_frame", pa.int64()),
        ("first_s", pa.float64()),
        ("last_s", pa.float64()),
        ("frames", pa.int64()),
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


def _take(waiting: list[Tracklet], crops: int) -> list[Tracklet]:
    group: list[Tracklet] = []
    while waiting and (not group or sum(len(one.crops) for one in group) < crops):
        group.append(waiting.pop(0))
    return group


def _embed(group: list[Tracklet], embedder: Embedder) -> Iterator[npt.NDArray[np.float32]]:
    images = [np.ascontiguousarray(crop.image[:, :, ::-1]) for one in group for crop in one.crops]
    vectors = embedder(images)
    start = 0
    for one in group:
        yield vectors[start : start + len(one.crops)]
        start += len(one.crops)


def _rows(one: Tracklet) -> pa.Table:
    x0, y0, x1, y1 = one.boxes.T
    return pa.table(
        {
            "raw": np.full(len(one.frames), one.id, np.int64),
            "frame": one.frames,
            "time_s": one.times_s,
            "x": x0,
            "y": y0,
            "w": x1 - x0,
            "h": y1 - y0,
            "confidence": one.confidence,
        }
    )


def _person(one: Tracklet, vectors: npt.NDArray[np.float32]) -> dict[str, object]:
    weights = np.asarray([crop.quality for crop in one.crops]) + 1e-3
    best = max(one.crops, key=lambda crop: crop.quality)
    return {
        "raw": one.id,
        "first_frame": int(one.frames[0]),
        "last_frame": int(one.frames[-1]),
        "first_s": float(one.times_s[0]),
        "last_s": float(one.times_s[-1]),
        "frames": len(one.frames),
        "head": _end(one.boxes[:8], one.times_s[:8], 0),
        "tail": _end(one.boxes[-8:], one.times_s[-8:], -1),
        "embedding": pool(vectors, weights).tolist(),
        "weight": float(weights.sum()),
        "best_frame": best.frame,
        "best_quality": best.quality,
        "best_box": list(best.box),
        "best_jpeg": cv2.imencode(".jpg", best.image, _JPEG)[1].tobytes(),
    }


def _end(boxes: npt.NDArray[np.float32], times_s: npt.NDArray[np.float64], which: int) -> list[float]:
    elapsed = float(times_s[-1] - times_s[0])
    velocity = (boxes[-1] - boxes[0]) / elapsed if elapsed > 0 else np.zeros(4, np.float32)
    return [*map(float, boxes[which]), *map(float, velocity)]


def frames_of(segment: Segment, camera: Camera, footage: Footage) -> int:
    """How many frames a segment owns, for progress; 0 for a stream."""
    if segment.last is None:
        return 0
    return len(range(segment.first, min(segment.last, footage.frames or segment.last) + 1, camera.step))
