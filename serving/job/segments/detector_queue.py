"""Pictures on their way through the detector, threads ahead of who takes its answers.

Answers come back after a fixed number of pictures and not when they are ready, so that who decides by them
decides the same each time.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import supervision as sv

from serving.detection import GROUP, UNCHANGED, Change
from serving.video import Frame, Picture

__all__ = ["IN_FLIGHT", "Given", "Groups", "Look", "Seen", "Through"]

IN_FLIGHT = 2 * GROUP  # frames for each thread of the detector, which has not lost its work when it is asked


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
    moved: bool = False
    decoded: bool = True


Given = tuple[Picture, Change]
Look = Callable[[Sequence[Given]], list[Seen]]


class Through(ABC):
    """Pictures are taken in groups; of a group some go to the pool, and what they show settles it.

    Args:
        pool: of the threads that look ahead.
        at_once: how many.
        depth: how many groups may be on their way.
        look: the detector.
        seconds: charged with ``detection``.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, at_once: int, depth: int, look: Look, seconds: dict[str, float]
    ) -> None:
        self._pool = pool
        self._at_once = at_once
        self._depth = depth
        self._look_at, self._seconds = look, seconds
        self._group: list[Given] = []
        self._waiting: deque[tuple[list[Given], Future[tuple[list[Seen], float]]]] = deque()

    def give(self, picture: Picture, change: Change = UNCHANGED) -> Iterator[Seen]:
        """Take one more; what is then back of those before."""
        self._group.append((picture, change))
        if self._complete(self._group):
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
        for _, look in self._waiting:
            look.cancel()

    @abstractmethod
    def _complete(self, group: Sequence[Given]) -> bool:
        """Whether nothing more belongs to a group."""

    @abstractmethod
    def _ahead(self, group: Sequence[Given]) -> Sequence[Given]:
        """What of a group is looked at ahead of its turn."""

    @abstractmethod
    def _settled(self, group: Sequence[Given], seen: list[Seen]) -> Iterator[Seen]:
        """All frames of a group whose turn has come; ``seen`` are those that were looked at ahead."""

    def _submit(self) -> None:
        self._waiting.append((self._group, self._pool.submit(self._timed, self._ahead(self._group))))
        self._group = []

    def _timed(self, given: Sequence[Given]) -> tuple[list[Seen], float]:
        begin = time.perf_counter()
        return self._look_at(given), time.perf_counter() - begin

    def _charged(self, look: tuple[list[Seen], float]) -> list[Seen]:
        self._seconds["detection"] = self._seconds.get("detection", 0.0) + look[1] / self._at_once
        return look[0]

    def _oldest(self) -> Iterator[Seen]:
        group, look = self._waiting.popleft()
        yield from self._settled(group, self._charged(look.result()))


class Groups(Through):
    """Every picture is looked at; ``most`` of them may be in memory."""

    def __init__(
        self, pool: ThreadPoolExecutor, at_once: int, most: int, look: Look, seconds: dict[str, float]
    ) -> None:
        super().__init__(pool, at_once, 2 * at_once, look, seconds)
        self._size = min(GROUP, max(1, most // (self._depth + 1)))

    def _complete(self, group: Sequence[Given]) -> bool:
        return len(group) >= self._size

    def _ahead(self, group: Sequence[Given]) -> Sequence[Given]:
        return group

    def _settled(self, group: Sequence[Given], seen: list[Seen]) -> Iterator[Seen]:
        yield from seen
