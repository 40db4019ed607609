"""Segments worked through by several processes of this machine, which may be killed or stand still."""

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from serving.job.segments.segment import SegmentResult
from serving.job.segments.tasks import Failed, Outcome, SegmentTask, Stalls, embedder_of, tried
from serving.watchdog import exit_when_stuck

__all__ = ["in_processes"]

_TRIES = 2  # more, of a segment whose worker process dies


def in_processes(
    tasks: Sequence[SegmentTask], workers: int, on_frame: Callable[[str], None]
) -> Iterator[Outcome]:
    """Work through the tasks in ``workers`` processes; outcomes come as they are ready.

    What was in work when a process died is tried again by a process for it alone, ``_TRIES`` times, and then
    is a problem of its camera.
    """
    stalls, left = Stalls(), list(tasks)
    while left:
        pool = _Pool(left, workers, on_frame, stalls)
        suspects: list[SegmentTask] = []
        try:
            yield from pool.outcomes()
        except BrokenProcessPool:
            # processes that die before they begin anything would do so for ever
            suspects = pool.in_work() or pool.waiting()
        done = {task.segment.name for task in suspects}
        left = [task for task in pool.waiting() if task.segment.name not in done]
        for task in suspects:
            yield from _alone(task, on_frame, stalls)


def _alone(task: SegmentTask, on_frame: Callable[[str], None], stalls: Stalls) -> Iterator[Outcome]:
    for _ in range(_TRIES):
        try:
            yield stalls.given_up(task) or next(_Pool([task], 1, on_frame, stalls).outcomes())
        except BrokenProcessPool:
            continue
        return
    problem = (
        f"segment {task.segment.index}: its worker process was killed or stood still "
        f"{_TRIES + 1} times: use fewer --workers"
    )
    problem = f"{problem}, and look whether there is enough memory"
    stalls.give_up(task, problem)
    yield Outcome(task, None, problem)


_frames: Any = None  # in a worker process: the queue that tells the parent of each frame


def _begin(frames: Any, threads: int | None, stall_s: float) -> None:
    global _frames
    _frames = frames
    exit_when_stuck(stall_s)
    import cv2

    cv2.setNumThreads(threads or 1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        # A parent that is killed outright cannot end its workers.
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _in_worker(task: SegmentTask) -> SegmentResult | Failed:
    _frames.put(_Begun(task.segment.name))
    embedder = embedder_of(task.job.model, task.job.backend, task.threads, task.job.precision)
    return tried(task, embedder, lambda: _frames.put(task.camera.id))


@dataclass(frozen=True)
class _Begun:
    """Sent by a worker process when it begins a segment."""

    segment: str


class _Pool:
    """Worker processes for some tasks, until all are done or one process dies."""

    def __init__(
        self, tasks: Sequence[SegmentTask], workers: int, on_frame: Callable[[str], None], stalls: Stalls
    ) -> None:
        self._tasks = list(tasks)
        self._workers = workers
        self._on_frame = on_frame
        self._stalls = stalls
        self._begun: set[str] = set()
        self._done: set[str] = set()

    def in_work(self) -> list[SegmentTask]:
        """The tasks that were begun and did not end."""
        return [task for task in self._tasks if task.segment.name in self._begun - self._done]

    def waiting(self) -> list[SegmentTask]:
        """The tasks that were not begun."""
        return [task for task in self._tasks if task.segment.name not in self._begun | self._done]

    def outcomes(self) -> Iterator[Outcome]:
        """What came of the tasks, as it is ready.

        Raises:
            BrokenProcessPool: a process died.
        """
        context = multiprocessing.get_context("spawn")
        messages = context.Queue()
        ended = threading.Event()
        listener = threading.Thread(target=self._listen, args=(messages, ended), daemon=True)
        listener.start()
        begin = (messages, self._tasks[0].threads, self._tasks[0].job.stall_s)
        pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin, initargs=begin)
        running: dict[Future[SegmentResult | Failed], SegmentTask] = {}
        try:
            running |= {pool.submit(_in_worker, task): task for task in self._tasks}
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield self._outcome(running.pop(future), future)
                self._give_up_stalled(running)
        finally:
            # Nothing that still runs is wanted when this is left early.
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=not running, cancel_futures=True)
            if running:
                for process in processes:
                    process.terminate()
            ended.set()
            listener.join()

    def _outcome(self, task: SegmentTask, future: "Future[SegmentResult | Failed]") -> Outcome:
        if future.cancelled():
            outcome = self._stalls.given_up(task)
            assert outcome is not None
        else:
            outcome = self._stalls.outcome(task, future.result())
        self._done.add(task.segment.name)
        return outcome

    def _give_up_stalled(self, running: "dict[Future[SegmentResult | Failed], SegmentTask]") -> None:
        for future, task in running.items():
            if self._stalls.given_up(task) is not None:
                future.cancel()  # those in work end by themselves

    def _listen(self, messages: Any, ended: threading.Event) -> None:
        # Asked now and then, not woken by a last message: a process killed while it writes one keeps
        # everybody else's from coming.
        while True:
            try:
                one = messages.get(timeout=0.1)
            except queue.Empty:
                if ended.is_set():
                    return
                continue
            if isinstance(one, _Begun):
                self._begun.add(one.segment)
            else:
                self._on_frame(one)
