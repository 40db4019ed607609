"""Pictures made by several processes: which makes what does not change a byte, since each draws from
generators of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import cv2

__all__ = ["Task", "work_off"]

# Makes pictures, one at each step; can be pickled.
Task = Callable[[], Iterator[None]]


def work_off(tasks: Sequence[Task], processes: int) -> Iterator[int]:
    """Do all tasks, the first ones first; yields how many pictures were made since the last time.

    One process works here, picture by picture; more are started afresh, so the calling script needs the usual
    ``if __name__ == "__main__"``.
    """
    if processes == 1:
        for task in tasks:
            for _ in task():
                yield 1
        return
    pool = ProcessPoolExecutor(
        min(processes, len(tasks)), mp_context=get_context("spawn"), initializer=_alone
    )
    try:
        futures = [pool.submit(_count, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    cv2.setNumThreads(1)


def _count(task: Task) -> int:
    return sum(1 for _ in task())
