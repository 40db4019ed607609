"""Steps that adapt to how people move: where they are found afterwards at the places that the frames before
have foretold, the detector does not look at the frames between.

Frames are cut into blocks, and the detector looks at the last frame of each, threads ahead. When its turn
comes, everybody who was followed until then is expected at a place: where she was, and on from there as fast
as she went. If everybody is found there and nobody else, the tracker goes from the block's begin to its end
in one step. If not, the middle frame is looked at, and both halves are treated alike. So where somebody
comes, goes, turns, is covered or moves too fast for the step, it shrinks to single frames, and does so back
to before that happened. No look is in vain, for all are of frames that a step of one would look at too.

Blocks end at fixed numbers of frames and before the first frame that a segment owns: segments that overlap
look at the same frames. What is looked at follows from the frames alone, never from which thread was faster.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import supervision as sv

from serving.job.segments.watching import IN_FLIGHT, Seen
from serving.spec import AdaptiveSpec
from serving.video import Picture

__all__ = ["Blocks", "Paced"]

Given = tuple[Picture, bool]  # with whether most of it had changed


@dataclass(frozen=True)
class Blocks:
    """Where blocks of ``length`` frames end, of every ``step``-th frame of a segment that owns those from
    ``first`` on.
    """

    length: int
    step: int
    first: int

    @classmethod
    def of(cls, adaptive: AdaptiveSpec, fps: float, step: int, first: int) -> "Blocks":
        """Blocks as long as the job allows, of footage with ``fps`` frames a second."""
        return cls(max(1, int(adaptive.longest_s * fps / step + 1e-6)), step, first)

    def end_at(self, number: int) -> bool:
        """Whether frame ``number`` is a block's last."""
        return number // self.step % self.length == 0 or number < self.first <= number + self.step


class Paced:
    """Pictures on their way through the detector, few of them looked at; see
    :class:`serving.job.segments.watching.Through`.

    Args:
        blocks: where they end.
        foretold: whether people are where they were expected at a time, given who is found there.
        pool: of the threads that look ahead.
        at_once: how many.
        most: pictures in memory.
        look: the detector.
        seconds: charged with ``detection``.
    """

    def __init__(
        self,
        blocks: Blocks,
        foretold: Callable[[float, sv.Detections], bool],
        pool: ThreadPoolExecutor,
        at_once: int,
        most: int,
        look: Callable[[Sequence[Given]], list[Seen]],
        seconds: dict[str, float],
    ) -> None:
        self._blocks, self._foretold, self._pool, self._at_once = blocks, foretold, pool, at_once
        self._look_at, self._seconds = look, seconds
        self._longest = max(1, min(blocks.length, most // 2))
        self._depth = max(1, min(most, IN_FLIGHT * at_once) // self._longest)
        self._block: list[Given] = []
        self._waiting: deque[tuple[list[Given], Future[tuple[Seen, float]]]] = deque()

    def give(self, picture: Picture, whole: bool = False) -> Iterator[Seen]:
        """Take one more; what is then back of those before."""
        self._block.append((picture, whole))
        if len(self._block) >= self._longest or self._blocks.end_at(picture.number):
            self._submit()
        while len(self._waiting) > self._depth:
            yield from self._oldest()

    def rest(self) -> Iterator[Seen]:
        """Wait for all of them."""
        if self._block:
            self._submit()
        while self._waiting:
            yield from self._oldest()

    def cancel(self) -> None:
        """Let go of what is not begun."""
        for _, look in self._waiting:
            look.cancel()

    def _submit(self) -> None:
        self._waiting.append((self._block, self._pool.submit(self._timed, self._block[-1])))
        self._block = []

    def _timed(self, given: Given) -> tuple[Seen, float]:
        begin = time.perf_counter()
        (seen,) = self._look_at([given])
        return seen, time.perf_counter() - begin

    def _charged(self, look: tuple[Seen, float]) -> Seen:
        self._seconds["detection"] = self._seconds.get("detection", 0.0) + look[1] / self._at_once
        return look[0]

    def _oldest(self) -> Iterator[Seen]:
        block, look = self._waiting.popleft()
        yield from self._settled(block, self._charged(look.result()))

    def _settled(self, block: list[Given], last: Seen) -> Iterator[Seen]:
        """The frames of a block, at whose begin the tracker is; ``last`` is of its last frame."""
        if len(block) > 1 and not self._foretold(last.time_s, last.detections):
            half = len(block) // 2
            # In this thread: those of the pool have looks of later blocks before them.
            yield from self._settled(block[:half], self._charged(self._timed(block[half - 1])))
            yield from self._settled(block[half:], last)
            return
        for picture, whole in block[:-1]:
            yield Seen(picture.number, picture.time_s, None, sv.Detections.empty(), False, whole, True)
        yield last
