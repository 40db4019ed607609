"""A segment: a stretch of one camera's footage, worked through on its own and stored whole or not at all.

Segments are what a job is resumed by and what several workers share. Each begins ``OVERLAP_S`` before the
frames it owns, so that people who walk across a border are followed on both sides of it and can be joined
again by their boxes.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reid.files import atomic_directory, write_json
from serving.detection import Detector, NetworkDetector, detect_in_order
from serving.job.encryption import write_sealed
from serving.job.layout import SegmentFolder, segment_name
from serving.job.segments.adaptive_step import Blocks, Paced
from serving.job.segments.detector_queue import Seen
from serving.job.segments.frame_choice import LOOKS, Looks, Watch
from serving.job.segments.tables import NO_ROWS, PEOPLE, person_row, rows_of
from serving.runtime import Embedder
from serving.spec import AdaptiveSpec, Camera, IdleSpec
from serving.tracking import SPARSE_S, Tracklet, TrackletBuilder
from serving.video import SOFTWARE, STALL_S, Footage, frames_ahead, queue_length

__all__ = [
    "DECODED",
    "EMBED_BATCH",
    "OTHERS",
    "OVERLAP_S",
    "Segment",
    "SegmentResult",
    "Work",
    "frames_of",
    "needed",
    "plan_segments",
    "planned_segment",
    "process_segment",
]

OVERLAP_S = 2.0
OTHERS = "others"  # in a segment's counts: see Detector.others
DECODED = "decoded"  # likewise: frames by what decoded them, where hardware was to
EMBED_BATCH = 32


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames ``first`` to ``last`` of a camera are owned, those from ``begin`` on are tracked too. All from
    1, included.
    """

    camera: str
    index: int
    begin: int
    first: int
    last: int | None  # None: to the end of a stream

    @property
    def name(self) -> str:
        """The segment's folder."""
        return segment_name(self.camera, self.index)


@dataclass(frozen=True)
class SegmentResult:
    """What a segment came to: rows of its tracklets' boxes, one row a tracklet, and counts with the seconds
    of each step.
    """

    boxes: pa.Table
    people: pa.Table
    counts: dict[str, Any]

    def store(self, folder: Path) -> None:
        """Write it into ``folder``, which appears whole or not at all."""
        with atomic_directory(folder, private=True) as temporary:
            files = SegmentFolder(temporary)
            pq.write_table(self.boxes, files.boxes)
            write_sealed(self.people, files.people)
            write_json(files.counts, self.counts)


def plan_segments(camera: Camera, footage: Footage, segment_s: float) -> list[Segment]:
    """Cut a camera's frames into segments of about ``segment_s`` seconds; a stream is one segment."""
    first, last = camera.frames or (1, footage.frames or None)
    if footage.live:
        return [Segment(camera.id, 0, first, first, last)]
    last = min(last or footage.frames, footage.frames)
    if last < first:
        return []
    length, overlap = _frames(camera, footage, segment_s), _frames(camera, footage, OVERLAP_S)
    starts = list(range(first, last + 1, length))
    if len(starts) > 1 and last + 1 - starts[-1] < overlap:
        starts.pop()  # too short to stand alone
    ends = [start - 1 for start in starts[1:]] + [last]
    return [
        Segment(camera.id, index, max(first, start - overlap) if index else first, start, end)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def planned_segment(camera: Camera, footage: Footage, segment_s: float, index: int) -> Segment:
    """A segment as :func:`plan_segments` cut it, for whoever has no footage to read its length from: where it
    ends is not said.
    """
    first = (camera.frames or (1,))[0]
    start = first + index * _frames(camera, footage, segment_s)
    begin = max(first, start - _frames(camera, footage, OVERLAP_S)) if index else first
    return Segment(camera.id, index, begin, start, None)


def _frames(camera: Camera, footage: Footage, seconds: float) -> int:
    """So many seconds in frames, a multiple of the step."""
    return max(1, round(seconds * footage.fps / camera.step)) * camera.step


def process_segment(
    segment: Segment,
    camera: Camera,
    footage: Footage,
    detector: Detector,
    builder: TrackletBuilder,
    embedder: Embedder,
    on_frame: Callable[[], None] = lambda: None,
    stall_s: float = STALL_S,
    idle: IdleSpec | None = None,
    adaptive: AdaptiveSpec | None = None,
) -> SegmentResult:
    """Detect, track and embed one segment. Decoding and detection run in threads ahead of tracking and
    embedding. With ``idle`` the detector does not look at every frame while nothing moves, with ``adaptive``
    neither where people move as foretold.

    Raises:
        ReidError: the footage cannot be read, or gives nothing for ``stall_s`` seconds.
    """
    owned = (
        range(segment.first, segment.last + 1, camera.step)
        if segment.last is not None and not footage.live
        else None
    )
    work = Work(segment, embedder, builder.activation, owned)
    frames = _seen(segment, camera, footage, detector, builder, stall_s, idle, adaptive, work.seconds)
    for seen in frames:
        if seen.number >= segment.begin:
            with work.timed("tracking"):
                work.take(_followed(builder, seen))
        if seen.number >= segment.first:
            work.count(seen.number)
            work.looks.count(seen)
            on_frame()
        with work.timed("embedding"):
            work.embed(EMBED_BATCH)
    work.count(None)
    work.take(builder.finish())
    with work.timed("embedding"):
        work.embed(1)
    # In software alone there is nothing to count, and how far reading was ahead when it ended is chance.
    hardware = any(clip.decoder != SOFTWARE for clip in footage.clips)
    return work.result(detector.others, footage.decoded if hardware else None)


def _followed(builder: TrackletBuilder, seen: Seen) -> list[Tracklet]:
    if seen.between:
        return builder.pass_over()
    if seen.frame is None:
        return builder.repeat(seen.number, seen.time_s)
    return builder.update(seen.frame, seen.detections)


def _seen(
    segment: Segment,
    camera: Camera,
    footage: Footage,
    detector: Detector,
    builder: TrackletBuilder,
    stall_s: float,
    idle: IdleSpec | None,
    adaptive: AdaptiveSpec | None,
    seconds: dict[str, float],
) -> Iterator[Seen]:
    """The segment's frames with their detections, worked out by threads ahead."""
    first = _first_read(segment, camera, detector.warm_up)
    # Only a network costs so much that a cheaper look before it pays; and it has no memory.
    dense = camera.step / footage.fps <= SPARSE_S
    idle = idle or IdleSpec(enabled=False)
    paced = adaptive is not None and adaptive.enabled
    if (idle.enabled or paced) and dense and isinstance(detector, NetworkDetector):
        through = None
        if adaptive is not None and paced:
            blocks = Blocks.of(adaptive, footage.fps, camera.step, segment.first)
            through = partial(Paced, blocks, partial(builder.foretold, adaptive.min_iou))
        watch = Watch(
            *(footage, detector, camera.region, idle),
            *(builder.activation, lambda: builder.tracked, seconds, through),
        )
        yield from watch.frames(first, segment.last, camera.step, stall_s)
        return
    frames = frames_ahead(footage, first, segment.last, camera.step, stall_s)
    for group, found in detect_in_order(frames, detector, camera.region, queue_length(footage), seconds):
        for frame, detections in zip(group, found, strict=True):
            yield Seen(frame.number, frame.time_s, frame, detections)


def _first_read(segment: Segment, camera: Camera, warm_up: int) -> int:
    first = max(1, segment.begin - warm_up * camera.step)
    return first + (segment.begin - first) % camera.step


def needed(segment: Segment, camera: Camera, footage: Footage, warm_up: int) -> Footage:
    """The part of a camera's footage that a segment is made from, with a detector that sees ``warm_up``
    frames before it.
    """
    return (
        footage if segment.last is None else footage.part(_first_read(segment, camera, warm_up), segment.last)
    )


class Work:
    """What has been found in a segment so far."""

    def __init__(self, segment: Segment, embedder: Embedder, activation: float, owned: range | None) -> None:
        self.frames = 0
        self.looks = Looks()
        self._owned, self._missing = owned, list[int]()  # the missing ones as first, last, first, last, ...
        self._next = segment.first
        self.seconds: dict[str, float] = {}
        self.segment = segment
        self._embedder = embedder
        self._activation = activation
        self._boxes: list[pa.Table] = []
        self._people: list[dict[str, object]] = []
        self._waiting: list[Tracklet] = []
        self._crops = 0

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Charge the time inside the block to a step."""
        begin = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - begin

    def count(self, number: int | None) -> None:
        """Frame ``number`` of those that the segment owns has come; None: no more will come."""
        if self._owned is not None:
            upto = self._owned.stop if number is None else number
            gap = range(self._next, upto, self._owned.step)
            self._missing += [gap[0], gap[-1]] if gap else []
            self._next = upto + self._owned.step
        self.frames += number is not None

    def take(self, tracklets: list[Tracklet]) -> None:
        """Keep finished tracklets that reach into the frames the segment owns."""
        owned = [one for one in tracklets if one.frames[-1] >= self.segment.first]
        self._waiting.extend(owned)
        self._boxes.extend(rows_of(one) for one in owned)

    def embed(self, least: int) -> None:
        """Embed waiting tracklets as long as they have ``least`` crops."""
        while self._waiting and sum(len(one.crops) for one in self._waiting) >= least:
            group = _take(self._waiting, EMBED_BATCH)
            for one, vectors in zip(group, _embed(group, self._embedder), strict=True):
                self._people.append(person_row(one, vectors, self.segment.first, self._activation))
            self._crops += sum(len(one.crops) for one in group)

    def result(
        self, others: dict[str, int] | None, decoded: Mapping[str, int] | None = None
    ) -> SegmentResult:
        """Everything as tables; ``others`` is the detector's, ``decoded`` the footage's."""
        boxes = pa.concat_tables([NO_ROWS, *self._boxes])
        people = pa.Table.from_pylist(self._people, schema=PEOPLE)
        counts = {
            "frames": self.frames,
            "missing": self._missing,
            "tracklets": len(self._people),
            "crops": self._crops,
            "seconds": self.seconds,
            OTHERS: others,
            LOOKS: self.looks.as_dict(),
            DECODED: dict(decoded or {}),
        }
        return SegmentResult(boxes, people, counts)


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


def frames_of(segment: Segment, camera: Camera, footage: Footage) -> int:
    """How many frames a segment owns, for progress; 0 for a stream."""
    if segment.last is None:
        return 0
    return len(range(segment.first, min(segment.last, footage.frames or segment.last) + 1, camera.step))
