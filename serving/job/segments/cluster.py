"""Segments as tasks of a Ray cluster, whose machines need not share a folder.

Model and detector are sent once to each machine (:mod:`serving.job.segments.parcels`). Of the footage each
segment reads the bytes that it needs: from its own disk where the same file lies there too, from the store
that the job names, or else from the machine on which the job runs. A gallery is not sent: people are named
when all segments are there, by the job itself.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from reid.addresses import is_url
from reid.errors import ReidError, UsageError
from reid.sockets import leave_room_for_sockets
from serving.job.segments.parcels import Parcel, packed, unpacked, with_own_paths
from serving.job.segments.segment import SegmentResult
from serving.job.segments.tasks import Failed, Outcome, SegmentTask, Stalls, embedder_of, tried
from serving.stores import FootageServer, address_of, local_version, read_from
from serving.watchdog import exit_when_stuck

__all__ = ["on_ray"]

_TRIES = 2  # more, of a segment whose worker dies
_READERS = 8  # ranges of footage that are read at a time for other machines


def on_ray(tasks: Sequence[SegmentTask], address: str) -> Iterator[Outcome]:
    """Work through the tasks on a Ray cluster; ``address`` is as in ``ray.init``, or ``local`` for one of
    this machine's own.

    Tasks of a worker or node that dies are run elsewhere. No more are handed over at a time than the cluster
    has processors: Ray gives a free one to whoever has waited longest, so that jobs that start later have
    their share after the segments in work.

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
        parcels, server = _parcels(tasks), _server(tasks)
        stalls, waiting = Stalls(), list(tasks)[::-1]
        running: dict[Any, SegmentTask] = {}
        while waiting or running:
            most = max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(running) < most:
                task = waiting.pop()
                if (outcome := stalls.given_up(task)) is not None:
                    yield outcome
                    continue
                running[remote.remote(task, parcels, server)] = task
            if running:
                (ready, *_), _ = ray.wait(list(running), num_returns=1)
                yield stalls.outcome(running.pop(ready), _fetched(ready))
    finally:
        ray.shutdown()


def _parcels(tasks: Sequence[SegmentTask]) -> dict[str, Parcel]:
    """What the tasks need beside footage, by its path here."""
    import ray

    job = tasks[0].job
    paths = {job.model, job.detector.model, *(task.camera.detections for task in tasks)}
    return {path: packed(path, ray.put) for path in paths if path is not None}


def _server(tasks: Sequence[SegmentTask]) -> Any:
    """Who gives this machine's footage to the others; None where all of it lies in stores."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    paths = {clip.source for task in tasks for clip in task.footage.clips if not is_url(clip.source)}
    if not paths:
        return None
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_concurrency=_READERS, max_restarts=_TRIES, max_task_retries=_TRIES)(
        FootageServer
    )
    return actor.options(scheduling_strategy=here).remote(sorted(paths))


def _remote(task: SegmentTask, parcels: dict[str, Parcel], server: Any) -> SegmentResult | Failed:
    import ray

    exit_when_stuck(task.job.stall_s)
    if server is not None:
        read_from(server)

    def source_of(source: str, version: str) -> str:
        return source if is_url(source) or local_version(source) == version else address_of(source)

    try:
        own = with_own_paths(task, lambda path: unpacked(parcels[path], ray.get), source_of)
        value = tried(
            own, embedder_of(own.job.model, own.job.backend, own.threads, own.job.precision), lambda: None
        )
    except ReidError as error:
        return Failed(str(error))
    # The job knows its footage by its paths.
    return (
        Failed(value.problem.replace(address_of(""), ""), value.stalled)
        if isinstance(value, Failed)
        else value
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
