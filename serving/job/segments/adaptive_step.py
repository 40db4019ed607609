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

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import supervision as sv

from serving.job.segments.detector_queue import IN_FLIGHT, Given, Look, Seen, Through
from serving.spec import AdaptiveSpec

__all__ = ["Blocks", "Paced"]


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


class Paced(Through):
    """Few pictures are looked at: the last of a block, and more where people are not where expected.

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
        look: Look,
        seconds: dict[str, float],
    ) -> None:
        self._blocks, self._foretold = blocks, foretold
        self._longest = max(1, min(blocks.length, most // 2))
        depth = max(1, min(most, IN_FLIGHT * at_once) // self._longest)
        super().__init__(pool, at_once, depth, look, seconds)

    def _complete(self, group: Sequence[Given]) -> bool:
        return len(group) >= self._longest or self._blocks.end_at(group[-1][0].number)

    def _ahead(self, group: Sequence[Given]) -> Sequence[Given]:
        return group[-1:]

    def _settled(self, group: Sequence[Given], seen: list[Seen]) -> Iterator[Seen]:
        (last,) = seen  # the tracker is at the begin of the block
        if len(group) > 1 and not self._foretold(last.time_s, last.detections):
            half = len(group) // 2
            # In this thread: those of the pool have looks of later blocks before them.
            yield from self._settled(group[:half], self._charged(self._timed(group[half - 1 : half])))
            yield from self._settled(group[half:], seen)
            return
        for picture, change in group[:-1]:
            yield Seen(
                picture.number,
                picture.time_s,
                None,
                sv.Detections.empty(),
                whole=change.whole,
                between=True,
                moved=change.moved,
            )
        yield last
