"""Where segments are worked through: in this process, in several processes of this machine, or on a Ray
cluster.

All three take the same tasks and give the same results. A task that fails with a ``ReidError`` fails its
camera and no other.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from serving.job.segments.cluster import on_ray
from serving.job.segments.processes import in_processes
from serving.job.segments.tasks import Outcome, SegmentTask, Stalls, tried
from serving.runtime import Embedder

__all__ = ["Outcome", "SegmentTask", "in_processes", "in_this_process", "on_ray"]


def in_this_process(
    tasks: Sequence[SegmentTask], embedder: Embedder, on_frame: Callable[[str], None]
) -> Iterator[Outcome]:
    """Work through the tasks one by one."""
    stalls = Stalls()
    for task in tasks:
        yield stalls.given_up(task) or stalls.outcome(
            task, tried(task, embedder, partial(on_frame, task.camera.id))
        )
