"""Which frames of a segment the detector looks at: where nothing moves, few.

As long as something has changed in the picture (:mod:`serving.detection.stillness`), and for a while
before and after, every frame is looked at, and what follows sees the same as without this. While nothing
changes, one frame in so many seconds is looked at, a *forced* look: it finds who stands so still, or came
so slowly, that the picture did not tell. What it finds anew wakes the watch as a change does. In the
frames between, whoever is tracked stands where the last look saw her: nothing has moved.

Which frames are looked at follows from the frames alone, never from which thread was faster: the tracker's
answer is asked for only where all that was given to the detector before has come back.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import supervision as sv

from serving.detection import (
    Background,
    Cells,
    NetworkDetector,
    cell_mask,
    cells_of,
    grid_of,
    inside,
)
from serving.overlap import box_iou
from serving.spec import IdleSpec
from serving.video import (
    Footage,
    Frame,
    Picture,
    Pulse,
    ahead,
    queue_length,
    read_pictures,
    upright,
)

__all__ = ["IN_FLIGHT", "LOOKS", "Looks", "Seen", "Through", "Watch"]

LOOKS = "looks"  # in a segment's counts: see Looks
_GROUP = 4  # frames of one call of the detector, so that handing them over costs little
IN_FLIGHT = 2 * _GROUP  # frames for each thread of the detector, which has not lost its work when it is asked
_SAME = 0.5  # IoU of one person's boxes in two frames in which nothing has moved
_DOUBTFUL = 0.5  # of the confidence that starts a tracklet: a box that wakes the watch when it is new

Boxes = npt.NDArray[np.float32]


@dataclass
class Looks:
    """Of the frames that a segment owns: those that the detector looked at (``looked_at``), those of them
    that were forced, those that it did not look at (``skipped``), those of them that lie ``between`` two
    looks at people who move, and those in which most of the picture had changed at once.
    """

    looked_at: int = 0
    forced: int = 0
    skipped: int = 0
    between: int = 0
    whole: int = 0

    def count(self, seen: "Seen") -> None:
        """One more frame."""
        self.looked_at += seen.frame is not None
        self.forced += seen.forced
        self.skipped += seen.frame is None
        self.between += seen.between
        self.whole += seen.whole

    def as_dict(self) -> dict[str, int]:
        """For the segment's counts."""
        return asdict(self)


@dataclass(frozen=True)
class Seen:
    """A frame and its detections; of one that was not looked at, ``frame`` is None and there are none.
    ``between``: people moved in it, as the looks before and after it tell.
    """

    number: int
    time_s: float
    frame: Frame | None
    detections: sv.Detections
    forced: bool = False
    whole: bool = False
    between: bool = False


class Through(Protocol):
    """Pictures on their way through the detector."""

    def give(self, picture: Picture, whole: bool = False) -> Iterator[Seen]:
        """Take one more; what is then back of those before. ``whole``: see :class:`Looks`."""

    def rest(self) -> Iterator[Seen]:
        """Wait for all of them."""

    def cancel(self) -> None:
        """Let go of what is not begun."""


class Watch:
    """Frames of a segment, in order, with the detections of those that are looked at.

    Args:
        footage: the camera's.
        detector: a network, whose answers do not depend on the frames before.
        region: only detections whose feet are inside count.
        idle: when it may sleep.
        activation: the confidence that starts a tracklet.
        tracked: the boxes (N, 4) that the tracker follows after the last frame that :meth:`frames` gave.
        seconds: charged with ``detection`` and ``waiting_for_frames``.
        through: makes what pictures go through the detector in, of a pool of threads, how many those are, how
            many pictures may be in memory, a function that looks at some, and ``seconds``; None: all of them
            are looked at.
    """

    def __init__(
        self,
        footage: Footage,
        detector: NetworkDetector,
        region: Sequence[tuple[float, float]],
        idle: IdleSpec,
        activation: float,
        tracked: Callable[[], Boxes],
        seconds: dict[str, float],
        through: "Callable[..., Through] | None" = None,
    ) -> None:
        self._footage, self._detector, self._region, self._idle = footage, detector, region, idle
        self._made_through = through or _Work
        self._activation, self._tracked, self._seconds = activation, tracked, seconds
        self._grid = grid_of(footage.size, detector.min_size)
        self._background = Background(self._grid, footage.size, region)
        self._most = queue_length(footage)
        self._awake_until, self._looked_s = -np.inf, -np.inf
        self._before = sv.Detections.empty()  # what the last look found
        self._asleep: deque[Picture] = deque()  # the last frames that were not looked at

    def frames(self, first: int, last: int | None, step: int, stall_s: float) -> Iterator[Seen]:
        """Frames ``first`` to ``last``, every ``step``-th.

        Raises:
            ReidError: as :func:`serving.video.read_frames`, and when nothing comes for ``stall_s`` seconds.
        """
        pulse = Pulse(stall_s)
        pictures = ahead(self._with_cells(first, last, step, pulse), self._most, pulse)
        lead = min(self._most, max(1, round(self._idle.around_s * self._footage.fps / step)))
        at_once = max(1, min(self._detector.at_once, self._most // 2))
        with ThreadPoolExecutor(at_once) as pool:
            work = self._made_through(pool, at_once, self._most, self._look, self._seconds)
            try:
                for picture, cells in self._timed(pictures):
                    for seen in self._step(picture, cells, work, lead):
                        yield self._kept(seen)
                yield from self._passed(0)
                for seen in work.rest():
                    yield self._kept(seen)
            finally:
                work.cancel()

    def _step(self, picture: Picture, cells: Cells, work: Through, lead: int) -> Iterator[Seen]:
        now = picture.time_s
        people = cell_mask(self._tracked(), self._grid, self._footage.size)
        change = self._background.look(cells, now, people)
        if change.changed or not self._idle.enabled:
            self._awake_until = now + self._idle.around_s
        if now <= self._awake_until:
            yield from self._woken(work)
            yield from work.give(picture, change.whole)
            self._looked_s = now
            return
        yield from work.rest()
        if now - self._looked_s < self._idle.every_s:
            self._asleep.append(picture)
            yield from self._passed(lead)
            return
        self._looked_s = now
        (seen,) = self._look([(picture, False)], forced=True)
        if self._is_steady(seen.detections):
            yield from self._passed(0)
        else:
            self._awake_until = now + self._idle.around_s
            yield from self._woken(work)
            yield from work.rest()
        yield seen

    def _woken(self, work: Through) -> Iterator[Seen]:
        """Look at the frames just before: who comes in was there before the picture told."""
        while self._asleep:
            yield from work.give(self._asleep.popleft())

    def _passed(self, lead: int) -> Iterator[Seen]:
        """Let all but the last ``lead`` frames that were not looked at go."""
        while len(self._asleep) > lead:
            one = self._asleep.popleft()
            yield Seen(one.number, one.time_s, None, sv.Detections.empty())

    def _is_steady(self, found: sv.Detections) -> bool:
        """Whether a forced look has found whom the tracker follows, and nobody else.

        A doubtful box counts when the look before had none there; it starts no tracklet, but the next may.
        """
        tracked = self._tracked()
        sure = found.confidence >= self._activation
        doubtful = found.confidence >= _DOUBTFUL * self._activation
        known = _overlaps(found.xyxy, tracked)
        here_before = _overlaps(found.xyxy, self._before.xyxy)
        return bool(
            known[sure].all()
            and (known | here_before)[doubtful].all()
            and _overlaps(tracked, found.xyxy).all()
        )

    def _kept(self, seen: Seen) -> Seen:
        if seen.frame is not None:
            self._before = seen.detections
        return seen

    def _look(self, pictures: Sequence[tuple[Picture, bool]], forced: bool = False) -> list[Seen]:
        size = self._footage.size
        frames = [Frame(one.number, one.time_s, upright(one.frame, size)) for one, _ in pictures]
        found = [inside(one, self._region) for one in self._detector.detect(frames)]
        return [
            Seen(frame.number, frame.time_s, frame, one, forced, whole)
            for frame, one, (_, whole) in zip(frames, found, pictures, strict=True)
        ]

    def _with_cells(
        self, first: int, last: int | None, step: int, pulse: Pulse
    ) -> Iterator[tuple[Picture, Cells]]:
        for picture in read_pictures(self._footage, first, last, step, pulse):
            yield picture, cells_of(picture.frame, self._grid)

    def _timed(self, pictures: Iterator[tuple[Picture, Cells]]) -> Iterator[tuple[Picture, Cells]]:
        begin = time.perf_counter()
        for one in pictures:
            passed = time.perf_counter() - begin
            self._seconds["waiting_for_frames"] = self._seconds.get("waiting_for_frames", 0.0) + passed
            yield one
            begin = time.perf_counter()


class _Work:
    """Pictures on their way through the detector, in groups, as many groups at once as it takes.

    Results come back after a fixed number of groups and not when they are ready, so that who decides by them
    decides the same each time.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        at_once: int,
        most: int,
        look: Callable[[Sequence[tuple[Picture, bool]]], list[Seen]],
        seconds: dict[str, float],
    ) -> None:
        self._pool, self._at_once, self._look_at, self._seconds = pool, at_once, look, seconds
        self._depth = 2 * at_once
        self._size = min(_GROUP, max(1, most // (self._depth + 1)))
        self._group: list[tuple[Picture, bool]] = []
        self._waiting: deque[Future[tuple[list[Seen], float]]] = deque()

    def give(self, picture: Picture, whole: bool = False) -> Iterator[Seen]:
        """Take one more; what is then back of those before."""
        self._group.append((picture, whole))
        if len(self._group) >= self._size:
            self._submit()
        while len(self._waiting) > self._depth:
            yield from self._oldest()

    def rest(self) -> Iterator[Seen]:
        """Wait for all of them."""
        if self._group:
            self._submit()
        while self._waiting:
            yield from self._oldest()

    def cancel(self) -> None:
        """Let go of what is not begun."""
        for one in self._waiting:
            one.cancel()

    def _submit(self) -> None:
        self._waiting.append(self._pool.submit(self._timed, self._group))
        self._group = []

    def _timed(self, group: list[tuple[Picture, bool]]) -> tuple[list[Seen], float]:
        begin = time.perf_counter()
        return self._look_at(group), time.perf_counter() - begin

    def _oldest(self) -> list[Seen]:
        seen, taken = self._waiting.popleft().result()
        self._seconds["detection"] = self._seconds.get("detection", 0.0) + taken / self._at_once
        return seen


def _overlaps(boxes: Boxes, others: Boxes) -> npt.NDArray[np.bool_]:
    """For each of the boxes (N, 4) whether one of the others (M, 4) lies where it does."""
    if not len(boxes) or not len(others):
        return np.zeros(len(boxes), np.bool_)
    return np.asarray((box_iou(boxes.astype(np.float64), others.astype(np.float64)) >= _SAME).any(axis=1))
