"""Which frames of a segment the detector looks at: where nothing moves, few.

As long as something has changed in the picture (:mod:`serving.detection.stillness`), and for a while
before and after, every frame is looked at, and what follows sees the same as without this. While nothing
changes, one frame in so many seconds is looked at, a *forced* look: it finds who stands so still, or came
so slowly, that the picture did not tell. What it finds anew wakes the watch as a change does. In the
frames between, whoever is tracked stands where the last look saw her: nothing has moved.

Where that lasts, the frames between two key frames are not even decoded, as long as the next key frame shows
no change and the packets between are no larger than usual. Else the watch goes back to where it knew the
picture last and takes frame by frame from there.

Which frames are looked at follows from the frames alone, never from which thread was faster: the tracker's
answer is asked for only where all that was given to the detector before has come back.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import supervision as sv

from serving.detection import (
    UNCHANGED,
    Background,
    Cells,
    NetworkDetector,
    PacketSizes,
    cell_mask,
    cells_of,
    grid_of,
    inside,
)
from serving.job.segments.detector_queue import Given, Groups, Seen, Through
from serving.overlap import box_iou
from serving.spec import IdleSpec
from serving.video import (
    Footage,
    Frame,
    Picture,
    Pulse,
    ahead,
    packet_sizes,
    queue_length,
    read_pictures,
    read_stops,
    stops_of,
    times_of,
    upright,
)

__all__ = ["LOOKS", "Looks", "Watch"]

LOOKS = "looks"  # in a segment's counts: see Looks
_SAME = 0.5  # IoU of one person's boxes in two frames in which nothing has moved
_BLIND = 0.5  # of the time between forced looks: key frames further apart are not relied on
_LEAST_PASSED = 4  # frames between key frames; fewer are not worth it
# Read ahead of the watch. More would often be in vain: it goes from one way of reading to the other, and what
# was read beyond that place is dropped.
_PICTURES_AHEAD, _STOPS_AHEAD = 8, 3
_DOUBTFUL = 0.5  # of the confidence that starts a tracklet: a box that wakes the watch when it is new

_NOBODY = sv.Detections.empty()

Boxes = npt.NDArray[np.float32]


@dataclass
class Looks:
    """Of the frames that a segment owns: those that the detector looked at (``looked_at``), those of them
    that were forced, those that it did not look at (``skipped``), those of them that lie ``between`` two
    looks at people who move, those of them that were not decoded, those in which most of the picture had
    changed at once, and the number of the first of these in which it was not the light (``moved_at``, 0:
    none).
    """

    looked_at: int = 0
    forced: int = 0
    skipped: int = 0
    between: int = 0
    undecoded: int = 0
    whole: int = 0
    moved_at: int = 0

    def count(self, seen: Seen) -> None:
        """One more frame."""
        self.looked_at += seen.frame is not None
        self.forced += seen.forced
        self.skipped += seen.frame is None
        self.between += seen.between
        self.undecoded += not seen.decoded
        self.whole += seen.whole
        if seen.moved and not self.moved_at:
            self.moved_at = seen.number

    def as_dict(self) -> dict[str, int]:
        """For the segment's counts."""
        return asdict(self)


@dataclass(frozen=True)
class _Passed:
    """A frame that was not decoded."""

    number: int
    time_s: float


# A frame, its cells, and the time of the next frame that can be looked at if this one is not.
_Step = tuple[Picture, Cells, float] | _Passed


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
        self._footage = footage
        self._detector = detector
        self._region = region
        self._idle = idle
        self._made_through = through or Groups
        self._activation = activation
        self._tracked = tracked
        self._seconds = seconds
        self._grid = grid_of(footage.size, detector.min_size)
        self._background = Background(self._grid, footage.size, region)
        self._most = queue_length(footage)
        self._awake_until, self._looked_s = -np.inf, -np.inf
        self._before = sv.Detections.empty()  # what the last look found
        self._asleep: deque[Picture | _Passed] = deque()  # the last frames that were not looked at
        self._sizes = PacketSizes(footage.fps)
        self._changed_s = -np.inf  # of the last frame in which something had changed

    def frames(self, first: int, last: int | None, step: int, stall_s: float) -> Iterator[Seen]:
        """Frames ``first`` to ``last``, every ``step``-th.

        Raises:
            ReidError: as :func:`serving.video.read_frames`, and when nothing comes for ``stall_s`` seconds.
        """
        end = self._footage.clips[-1]
        self._range = first, end.first_number + end.frames - 1 if last is None else last, step
        self._pulse = Pulse(stall_s)
        lead = min(self._most, max(1, round(self._idle.around_s * self._footage.fps / step)))
        at_once = max(1, min(self._detector.at_once, self._most // 2))
        with ThreadPoolExecutor(at_once) as pool:
            work = self._made_through(pool, at_once, self._most, self._look, self._seconds)
            try:
                for one in self._timed(self._steps()):
                    for seen in self._step(one, work, lead):
                        yield self._kept(seen)
                yield from self._passed(0)
                for seen in work.rest():
                    yield self._kept(seen)
            finally:
                work.cancel()

    def _step(self, one: _Step, work: Through, lead: int) -> Iterator[Seen]:
        if isinstance(one, _Passed):
            self._asleep.append(one)
            yield from self._passed(lead)
            return
        picture, cells, next_s = one
        now = picture.time_s
        people = cell_mask(self._tracked(), self._grid, self._footage.size)
        change = self._background.look(cells, now, people)
        if change.changed:
            self._changed_s = now
        if change.changed or not self._idle.enabled:
            self._awake_until = now + self._idle.around_s
        if now <= self._awake_until:
            yield from self._woken(work)
            yield from work.give(picture, change)
            self._looked_s = now
            return
        yield from work.rest()
        if next_s - self._looked_s < self._idle.every_s:
            self._asleep.append(picture)
            yield from self._passed(lead)
            return
        self._looked_s = now
        (seen,) = self._look([(picture, UNCHANGED)], forced=True)
        if self._is_steady(seen.detections):
            yield from self._passed(0)
        else:
            self._awake_until = now + self._idle.around_s
            yield from self._woken(work)
            yield from work.rest()
        yield seen

    def _woken(self, work: Through) -> Iterator[Seen]:
        """Look at the frames just before: who comes in was there before the picture told."""
        passed = [one.number for one in self._asleep if isinstance(one, _Passed)]
        read: dict[int, Picture] = {}
        if passed:
            again = read_pictures(self._footage, passed[0], passed[-1], self._range[2], self._pulse)
            read = {picture.number: picture for picture in ahead(again, self._most, self._pulse)}
        while self._asleep:
            one = self._asleep.popleft()
            if (picture := read.get(one.number) if isinstance(one, _Passed) else one) is not None:
                yield from work.give(picture)

    def _passed(self, lead: int) -> Iterator[Seen]:
        """Let all but the last ``lead`` frames that were not looked at go."""
        while len(self._asleep) > lead:
            one = self._asleep.popleft()
            yield Seen(one.number, one.time_s, None, _NOBODY, decoded=isinstance(one, Picture))

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

    def _look(self, pictures: Sequence[Given], forced: bool = False) -> list[Seen]:
        size = self._footage.size
        frames = [Frame(one.number, one.time_s, upright(one.frame, size)) for one, _ in pictures]
        found = [inside(one, self._region) for one in self._detector.detect(frames)]
        return [
            Seen(frame.number, frame.time_s, frame, one, forced, change.whole, moved=change.moved)
            for frame, one, (_, change) in zip(frames, found, pictures, strict=True)
        ]

    def _steps(self) -> Iterator[_Step]:
        """Frame by frame while anything moves, from key frame to key frame while nothing does."""
        first, last, step = self._range
        stops = stops_of(self._footage, first, last, step)
        number: int | None = first
        while number is not None:
            number = yield from self._every(number, stops)
            if number is not None:
                number = yield from self._dozing(number, [one for one in stops if one >= number])

    def _every(self, number: int, stops: Sequence[int]) -> Generator[_Step, None, int | None]:
        """Every frame from ``number`` on, until a key frame from which the watch may doze: that."""
        _, last, step = self._range
        places = {one: place for place, one in enumerate(stops)}
        entered = number
        pictures = read_pictures(self._footage, number, last, step, self._pulse)
        found = ahead(self._with_cells(pictures), min(_PICTURES_AHEAD, self._most), self._pulse)
        with closing(found):
            for picture, cells in found:
                place = places.get(picture.number)
                ahead_of = None if place is None or place + 1 == len(stops) else stops[place + 1]
                next_s = picture.time_s
                if ahead_of is not None and self._may_pass(picture.number, ahead_of):
                    (next_s,) = self._times((ahead_of,))
                yield picture, cells, next_s
                if place and stops[place - 1] >= entered - step:
                    self._learn_sizes(stops[place - 1], picture.number)
                if ahead_of is not None and self._may_pass(picture.number, ahead_of):
                    return picture.number
        return None

    def _dozing(self, here: int, stops: Sequence[int]) -> Generator[_Step, None, int]:
        """From key frame to key frame, ``stops[0]`` being the one where the watch is, while nothing changes;
        the number of the first frame that is to be seen again or for the first time.
        """
        step = self._range[2]
        times = self._times(stops)
        pictures = read_stops(self._footage, stops[1:], self._pulse)
        found = ahead(self._with_cells(pictures), _STOPS_AHEAD, self._pulse)
        with closing(found):
            for place, (picture, cells) in enumerate(found, start=1):
                # One that does not decode, or that shows somebody: what lies before it is read after all.
                if picture.number != stops[place] or not self._may_pass(here, picture.number):
                    break
                if self._background.differs(cells):
                    break
                between = range(here + step, picture.number, step)
                for number, time_s in zip(between, times_of(self._footage, between), strict=True):
                    yield _Passed(number, time_s)
                self._learn_sizes(here, picture.number)
                here = picture.number
                yield picture, cells, times[min(place + 1, len(stops) - 1)]
                if picture.time_s <= self._awake_until:
                    break
        return here + step

    def _times(self, numbers: Sequence[int]) -> list[float]:
        return [times_of(self._footage, range(one, one + 1))[0] for one in numbers]

    def _may_pass(self, here: int, there: int) -> bool:
        """Whether what lies between two frames need not be decoded, as far as packets tell it."""
        now_s, then_s = self._times((here, there))
        return (
            self._idle.enabled
            and now_s > self._awake_until
            and then_s - now_s <= _BLIND * self._idle.every_s
            and there - here > _LEAST_PASSED * self._range[2]
            and self._sizes.usual(packet_sizes(self._footage, range(here + 1, there)))
        )

    def _learn_sizes(self, here: int, there: int) -> None:
        """Of the packets between two frames, if nothing has changed since the first."""
        if self._changed_s < self._times((here,))[0]:
            self._sizes.learn(packet_sizes(self._footage, range(here + 1, there)))

    def _with_cells(self, pictures: Iterator[Picture]) -> Iterator[tuple[Picture, Cells]]:
        for picture in pictures:
            yield picture, cells_of(picture.frame, self._grid)

    def _timed(self, steps: Iterator[_Step]) -> Iterator[_Step]:
        begin = time.perf_counter()
        for one in steps:
            passed = time.perf_counter() - begin
            self._seconds["waiting_for_frames"] = self._seconds.get("waiting_for_frames", 0.0) + passed
            yield one
            begin = time.perf_counter()


def _overlaps(boxes: Boxes, others: Boxes) -> npt.NDArray[np.bool_]:
    """For each of the boxes (N, 4) whether one of the others (M, 4) lies where it does."""
    if not len(boxes) or not len(others):
        return np.zeros(len(boxes), np.bool_)
    return np.asarray((box_iou(boxes.astype(np.float64), others.astype(np.float64)) >= _SAME).any(axis=1))
