"""Where segments are worked through: in this process, in several processes of this machine, or on a Ray cluster.

All three take the same tasks and give the same results. A task that fails with a ``ReidError`` fails its camera and no other.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reid.errors import ReidError, UsageError
from reid.heap import give_back_memory, share_heap
from reid.sockets import leave_room_for_sockets
from serving.detection import build_detector
from serving.job import Camera, Job
from serving.runtime import Embedder, load
from serving.segments import Segment, SegmentResult, process_segment
from serving.tracking import TrackletBuilder
from serving.video import Footage

__all__ = ["Outcome", "SegmentTask", "in_processes", "in_this_process", "on_ray"]

_TRIES = 3  # of a segment whose worker process dies


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
    result = process_segment(task.segment, task.camera, task.footage, detector, builder, embedder, on_frame)
    give_back_memory()  # or what each segment's threads leave behind adds up over a long job
    return result


def in_this_process(tasks: Sequence[SegmentTask], embedder: Embedder, on_frame: Callable[[str], None]) -> Iterator[Outcome]:
    """Work through the tasks one by one."""
    for task in tasks:
        try:
            result = work_through(task, embedder, lambda task=task: on_frame(task.camera.id))  # type: ignore[misc]
        except ReidError as error:
            yield Outcome(task, None, str(error))
        else:
            yield Outcome(task, result)


def in_processes(tasks: Sequence[SegmentTask], workers: int, on_frame: Callable[[str], None]) -> Iterator[Outcome]:
    """Work through the tasks in ``workers`` processes; outcomes come as they are ready.

    Raises:
        ReidError: worker processes died again and again.
    """
    left = list(tasks)
    for _ in range(_TRIES):
        done: set[str] = set()
        try:
            for outcome in _one_pool(left, workers, on_frame):
                done.add(outcome.task.segment.name)
                yield outcome
        except BrokenProcessPool:
            left = [task for task in left if task.segment.name not in done]
        else:
            return
    raise ReidError(f"worker processes were killed {_TRIES} times, for want of memory perhaps: use fewer --workers and run again")


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
        waiting = list(tasks)[::-1]
        running: dict[Any, SegmentTask] = {}
        while waiting or running:
            while waiting and len(running) < most:
                task = waiting.pop()
                running[remote.remote(task)] = task
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            yield _outcome(running.pop(ready), ray.get(ready))
    finally:
        ray.shutdown()


@lru_cache(maxsize=1)
def _embedder(model: str, backend: str, threads: int | None) -> Embedder:
    return load(model, backend, threads)


def _remote(task: SegmentTask) -> SegmentResult | str:
    # Errors travel as text: a cluster wraps exceptions in classes of its own.
    try:
        return work_through(task, _embedder(task.job.model, task.job.backend, task.threads), lambda: None)
    except ReidError as error:
        return str(error)


def _outcome(task: SegmentTask, value: SegmentResult | str) -> Outcome:
    return Outcome(task, None, value) if isinstance(value, str) else Outcome(task, value)


_frames: Any = None  # in a worker process: the queue that tells the parent of each frame


def _begin(frames: Any, threads: int | None) -> None:
    global _frames
    _frames = frames
    import cv2

    cv2.setNumThreads(threads or 1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        # A parent that is killed outright cannot end its workers.
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _in_worker(task: SegmentTask) -> SegmentResult | str:
    try:
        embedder = _embedder(task.job.model, task.job.backend, task.threads)
        return work_through(task, embedder, lambda: _frames.put(task.camera.id))
    except ReidError as error:
        return str(error)


def _one_pool(tasks: Sequence[SegmentTask], workers: int, on_frame: Callable[[str], None]) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    frames = context.Queue()

    def listen() -> None:
        while (camera := frames.get()) is not None:
            on_frame(camera)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(frames, tasks[0].threads if tasks else 1))
    try:
        running: dict[Future[SegmentResult | str], SegmentTask] = {pool.submit(_in_worker, task): task for task in tasks}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield _outcome(running.pop(future), future.result())
    finally:
        # Nothing that still runs is wanted when this is left early.
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=not running, cancel_futures=True)
        if running:
            for process in processes:
                process.terminate()
        frames.put(None)
        listener.join()
