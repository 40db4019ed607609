"""Where segments are worked through: in this process, in several processes of this machine, or on a Ray cluster.

All three take the same tasks and give the same results. A task that fails with a ``ReidError`` fails its camera and no other.
"""

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from reid.errors import ReidError, UsageError
from reid.heap import give_back_memory, share_heap
from reid.sockets import leave_room_for_sockets
from serving.detection import build_detector
from serving.job import Camera, Job
from serving.runtime import Embedder, load
from serving.segments import Segment, SegmentResult, process_segment
from serving.tracking import TrackletBuilder
from serving.video import Footage, StalledError
from serving.watchdog import exit_when_stuck

__all__ = ["Outcome", "SegmentTask", "in_processes", "in_this_process", "on_ray"]

_TRIES = 2  # more, of a segment whose worker process dies
_STALLS = 2  # of a camera, after which its other segments are not tried


@dataclass(frozen=True)
class SegmentTask:
    """A segment and all that is needed to work through it."""

    job: Job
    camera: Camera
    footage: Footage
    segment: Segment
    threads: int | None


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a result, or what is wrong with its camera."""

    task: SegmentTask
    result: SegmentResult | None
    problem: str | None = None


def work_through(task: SegmentTask, embedder: Embedder, on_frame: Callable[[], None]) -> SegmentResult:
    """Detect, track and embed one segment.

    Raises:
        ReidError: the camera's footage cannot be read.
    """
    share_heap()
    detector = build_detector(task.job.detector, task.camera, task.threads)
    builder = TrackletBuilder(task.job.tracker, task.job.crops, task.footage.fps / task.camera.step)
    result = process_segment(task.segment, task.camera, task.footage, detector, builder, embedder, on_frame, task.job.stall_s)
    give_back_memory()  # or what each segment's threads leave behind adds up over a long job
    return result


@dataclass(frozen=True)
class _Failed:
    """Why a task has no result. Errors travel as text: a cluster wraps exceptions in classes of its own."""

    problem: str
    stalled: bool = False


def _tried(task: SegmentTask, embedder: Embedder, on_frame: Callable[[], None]) -> SegmentResult | _Failed:
    try:
        return work_through(task, embedder, on_frame)
    except ReidError as error:
        return _Failed(str(error), isinstance(error, StalledError))


class _Stalls:
    """Cameras whose footage stood still again and again: the rest of their segments is not waited for."""

    def __init__(self) -> None:
        self._problems: dict[str, list[str]] = {}

    def outcome(self, task: SegmentTask, value: SegmentResult | _Failed) -> Outcome:
        if not isinstance(value, _Failed):
            return Outcome(task, value)
        if value.stalled:
            self._problems.setdefault(task.camera.id, []).append(value.problem)
        return Outcome(task, None, value.problem)

    def give_up(self, task: SegmentTask, problem: str) -> None:
        self._problems[task.camera.id] = [problem] * _STALLS

    def given_up(self, task: SegmentTask) -> Outcome | None:
        problems = self._problems.get(task.camera.id, [])
        return Outcome(task, None, problems[0]) if len(problems) >= _STALLS else None


def in_this_process(tasks: Sequence[SegmentTask], embedder: Embedder, on_frame: Callable[[str], None]) -> Iterator[Outcome]:
    """Work through the tasks one by one."""
    stalls = _Stalls()
    for task in tasks:
        yield stalls.given_up(task) or stalls.outcome(task, _tried(task, embedder, partial(on_frame, task.camera.id)))


def in_processes(tasks: Sequence[SegmentTask], workers: int, on_frame: Callable[[str], None]) -> Iterator[Outcome]:
    """Work through the tasks in ``workers`` processes; outcomes come as they are ready.

    What was in work when a process died is tried again by a process for it alone, ``_TRIES`` times, and then is a problem of its camera.
    """
    stalls, left = _Stalls(), list(tasks)
    while left:
        pool = _Pool(left, workers, on_frame, stalls)
        suspects: list[SegmentTask] = []
        try:
            yield from pool.outcomes()
        except BrokenProcessPool:
            suspects = pool.in_work() or pool.waiting()  # processes that die before they begin anything would do so for ever
        done = {task.segment.name for task in suspects}
        left = [task for task in pool.waiting() if task.segment.name not in done]
        for task in suspects:
            yield from _alone(task, on_frame, stalls)


def _alone(task: SegmentTask, on_frame: Callable[[str], None], stalls: _Stalls) -> Iterator[Outcome]:
    for _ in range(_TRIES):
        try:
            yield stalls.given_up(task) or next(_Pool([task], 1, on_frame, stalls).outcomes())
        except BrokenProcessPool:
            continue
        return
    problem = f"segment {task.segment.index}: its worker process was killed or stood still {_TRIES + 1} times: use fewer --workers"
    problem = f"{problem}, and look whether there is enough memory"
    stalls.give_up(task, problem)
    yield Outcome(task, None, problem)


def on_ray(tasks: Sequence[SegmentTask], address: str) -> Iterator[Outcome]:
    """Work through the tasks on a Ray cluster; ``address`` is as in ``ray.init``, or ``local`` for one of this machine's own.

    Footage and model are read where the task runs, under the same paths. Tasks of a worker or node that dies are run elsewhere.

    Raises:
        UsageError: Ray is not installed.
        ReidError: the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray needs ray: install it, or use --workers") from error
    leave_room_for_sockets()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ReidError(f"the Ray cluster at {address!r} cannot be reached: check the address") from error
    try:
        if ray.cluster_resources().get("CPU", 0) < 1:  # the tasks would wait for ever
            raise UsageError(f"the Ray cluster at {address!r} has no processor: start its nodes with --num-cpus 1 or more")
        remote = ray.remote(num_cpus=1, max_retries=_TRIES)(_remote)
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        stalls, waiting = _Stalls(), list(tasks)[::-1]
        running: dict[Any, SegmentTask] = {}
        while waiting or running:
            while waiting and len(running) < most:
                task = waiting.pop()
                if (outcome := stalls.given_up(task)) is not None:
                    yield outcome
                    continue
                running[remote.remote(task)] = task
            if running:
                (ready, *_), _ = ray.wait(list(running), num_returns=1)
                yield stalls.outcome(running.pop(ready), _fetched(ready))
    finally:
        ray.shutdown()


@lru_cache(maxsize=1)
def _embedder(model: str, backend: str, threads: int | None) -> Embedder:
    return load(model, backend, threads)


def _remote(task: SegmentTask) -> SegmentResult | _Failed:
    exit_when_stuck(task.job.stall_s)
    return _tried(task, _embedder(task.job.model, task.job.backend, task.threads), lambda: None)


def _fetched(reference: Any) -> SegmentResult | _Failed:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    try:
        value: SegmentResult | _Failed = ray.get(reference)
    except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
        return _Failed(f"a segment's worker was killed or stood still {_TRIES + 1} times ({type(error).__name__})")
    return value


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


def _in_worker(task: SegmentTask) -> SegmentResult | _Failed:
    _frames.put(_Begun(task.segment.name))
    embedder = _embedder(task.job.model, task.job.backend, task.threads)
    return _tried(task, embedder, lambda: _frames.put(task.camera.id))


@dataclass(frozen=True)
class _Begun:
    """What a worker process tells when it takes up a segment."""

    segment: str


class _Pool:
    """Worker processes for some tasks, until all are done or one process dies."""

    def __init__(self, tasks: Sequence[SegmentTask], workers: int, on_frame: Callable[[str], None], stalls: _Stalls) -> None:
        self._tasks, self._workers, self._on_frame, self._stalls = list(tasks), workers, on_frame, stalls
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
        told = context.Queue()
        ended = threading.Event()
        listener = threading.Thread(target=self._listen, args=(told, ended), daemon=True)
        listener.start()
        begin = (told, self._tasks[0].threads, self._tasks[0].job.stall_s)
        pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin, initargs=begin)
        running: dict[Future[SegmentResult | _Failed], SegmentTask] = {}
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

    def _outcome(self, task: SegmentTask, future: "Future[SegmentResult | _Failed]") -> Outcome:
        if future.cancelled():
            outcome = self._stalls.given_up(task)
            assert outcome is not None
        else:
            outcome = self._stalls.outcome(task, future.result())
        self._done.add(task.segment.name)
        return outcome

    def _give_up_stalled(self, running: "dict[Future[SegmentResult | _Failed], SegmentTask]") -> None:
        for future, task in running.items():
            if self._stalls.given_up(task) is not None:
                future.cancel()  # those in work end by themselves

    def _listen(self, told: Any, ended: threading.Event) -> None:
        # Asked now and then, not woken by a last message: a process killed while it writes one keeps everybody else's from coming.
        while True:
            try:
                one = told.get(timeout=0.1)
            except queue.Empty:
                if ended.is_set():
                    return
                continue
            if isinstance(one, _Begun):
                self._begun.add(one.segment)
            else:
                self._on_frame(one)
