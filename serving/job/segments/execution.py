"""Where segments are worked through: in this process, in several processes of this machine, or on a Ray
cluster.

All three take the same tasks and give the same results. A task that fails with a ``ReidError`` fails its
camera and no other.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from reid.errors import ReidError, UsageError
from reid.sockets import leave_room_for_sockets
from serving.job.segments.processes import in_processes
from serving.job.segments.segment import SegmentResult
from serving.job.segments.tasks import Failed, Outcome, SegmentTask, Stalls, embedder_of, tried
from serving.runtime import Embedder
from serving.watchdog import exit_when_stuck

__all__ = ["Outcome", "SegmentTask", "in_processes", "in_this_process", "on_ray"]

_TRIES = 2  # more, of a segment whose worker dies


def in_this_process(
    tasks: Sequence[SegmentTask], embedder: Embedder, on_frame: Callable[[str], None]
) -> Iterator[Outcome]:
    """Work through the tasks one by one."""
    stalls = Stalls()
    for task in tasks:
        yield stalls.given_up(task) or stalls.outcome(
            task, tried(task, embedder, partial(on_frame, task.camera.id))
        )


def on_ray(tasks: Sequence[SegmentTask], address: str) -> Iterator[Outcome]:
    """Work through the tasks on a Ray cluster; ``address`` is as in ``ray.init``, or ``local`` for one of
    this machine's own.

    Footage and model are read where the task runs, under the same paths. Tasks of a worker or node that dies
    are run elsewhere.

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
            raise UsageError(
                f"the Ray cluster at {address!r} has no processor: start its nodes with --num-cpus 1 or more"
            )
        remote = ray.remote(num_cpus=1, max_retries=_TRIES)(_remote)
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        stalls, waiting = Stalls(), list(tasks)[::-1]
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


def _remote(task: SegmentTask) -> SegmentResult | Failed:
    exit_when_stuck(task.job.stall_s)
    return tried(
        task, embedder_of(task.job.model, task.job.backend, task.threads, task.job.precision), lambda: None
    )


def _fetched(reference: Any) -> SegmentResult | Failed:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    try:
        value: SegmentResult | Failed = ray.get(reference)
    except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
        return Failed(
            f"a segment's worker was killed or stood still {_TRIES + 1} times ({type(error).__name__})"
        )
    return value
