"""What a sweep asks of Ray, against what Ray has: Ray itself would wait for ever for a processor that does
not exist.
"""

from reid.config import Params
from reid.errors import UsageError

__all__ = ["check_resources", "threads_of"]


def threads_of(params: Params) -> int:
    """Processors that a worker asks of Ray: its threads, or as many as the largest node has where these are
    more.
    """
    return max(1, min(params.train.threads, int(_largest("CPU"))))


def check_resources(params: Params) -> None:
    """Refuse what the cluster that this process is connected to cannot give.

    Threads beyond a node's processors are no reason to refuse: see :func:`threads_of`.

    Raises:
        UsageError: there are fewer processors or GPUs than one training wants, or its workers would share a
            GPU, which NCCL refuses; the message names the key.
    """
    workers = params.train.workers
    threads = threads_of(params)
    gpus = params.tune.gpus
    if workers > 1 and 0 < gpus < 1:
        raise UsageError(
            f"tune.gpus is {gpus:g} for each of {workers} workers: those of one training cannot share a GPU; "
            "set 1, or train.workers to 1"
        )
    # How many workers of that size find room, node by node: a worker lies on one.
    room = sum(int(node.get("CPU", 0) // threads) for node in _nodes())
    if workers > room:
        raise UsageError(
            f"train.workers is {workers} of {threads} processors each: Ray has room for {room}; lower "
            "it or train.threads"
        )
    if gpus:
        room = sum(int(node.get("GPU", 0) // gpus) for node in _nodes())
        if workers > room:
            there = sum(node.get("GPU", 0) for node in _nodes())
            raise UsageError(
                f"tune.gpus is {gpus:g} for each of {workers} workers: Ray has {there:g}; lower it, or "
                "set 0 to train without"
            )


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _largest(resource: str) -> float:
    return max((node.get(resource, 0.0) for node in _nodes()), default=0.0)
