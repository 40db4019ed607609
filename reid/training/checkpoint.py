"""Checkpoints: everything that the next epoch depends on, in one safetensors file written atomically."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reid.errors import ReidError
from reid.files import atomic_path
from reid.training.state import TrainingState

__all__ = ["load_checkpoint", "make_room", "remove_unfinished", "save_checkpoint"]

_FORMAT = "reid-checkpoint-1"


def save_checkpoint(path: Path, state: TrainingState, figures: Mapping[str, float]) -> None:
    """Write the state, with the figures of the epoch that led to it.

    Raises:
        ReidError: the disk is full or the folder cannot be written; the checkpoint of before is left whole.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in state.modules.items():
        for key, tensor in module.state_dict().items():
            tensors[f"{name}/{key}"] = tensor.detach().contiguous()
    for index, moments in state.optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimizer/{index}/{key}"] = torch.as_tensor(value).detach().contiguous()
    position = {"epoch": state.epoch, "step": state.step, "elapsed": state.elapsed, "figures": dict(figures)}
    with make_room(path), atomic_path(path) as temporary:
        # Not save_file: it writes to a name of its own first, which a kill would leave behind.
        temporary.write_bytes(save(tensors, metadata={"format": _FORMAT, "position": json.dumps(position)}))


def remove_unfinished(path: Path) -> None:
    """Remove what killed writers of ``path`` left beside it; only for who is the one writer of ``path``."""
    for partial in path.parent.glob(f".{path.stem}-*{path.suffix}"):
        partial.unlink(missing_ok=True)


@contextmanager
def make_room(path: Path) -> Iterator[None]:
    """Around writing ``path``: first remove what killed writers left beside it; where the disk is full, say
    what to do.

    Raises:
        ReidError: the file cannot be written.
    """
    remove_unfinished(path)
    try:
        yield
    except (OSError, ReidError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__  # of reid.files
        if not isinstance(cause, OSError):
            raise
        raise ReidError(
            f"{path} cannot be written ({cause.strerror}): make room and run again, it goes on from "
            "its last checkpoint"
        ) from error


def load_checkpoint(path: Path, state: TrainingState) -> dict[str, float]:
    """Restore what :func:`save_checkpoint` wrote into ``state``, in place, and return the figures.

    Raises:
        ReidError: the file is truncated, is not a checkpoint, or is one of another network or objective.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - it is not a mapping
    except (SafetensorError, OSError) as error:
        raise ReidError(
            f"checkpoint {path} cannot be read ({error}): delete it to train from the start"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise ReidError(f"{path} is not a training checkpoint: delete it to train from the start")
    try:
        for name, module in state.modules.items():
            prefix = f"{name}/"
            module.load_state_dict(
                {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            )
        _restore_optimizer(state, tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ReidError(
            f"checkpoint {path} is of another network or objective ({reason}): delete it to train from "
            "the start"
        ) from error
    position = json.loads(metadata["position"])
    state.epoch = int(position["epoch"])
    state.step = int(position["step"])
    state.elapsed = float(position["elapsed"])
    figures: dict[str, float] = position["figures"]
    return figures


def _restore_optimizer(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
    shapes = [weight.shape for weight in state.parameters]
    for place, kept in moments.items():
        if place >= len(shapes) or any(one.ndim and one.shape != shapes[place] for one in kept.values()):
            raise RuntimeError(f"it trains {len(moments)} tensors, other ones than these {len(shapes)}")
    optimizer = state.optimizer
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    # A fused optimiser walks a weight and its moments side by side in memory, so both must be laid out alike
    # (channels last); what was read is contiguous.
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if value.shape == weight.shape:
                kept[name] = torch.empty_like(weight).copy_(value)
