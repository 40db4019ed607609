"""Checkpoints: everything that the next epoch depends on, in one safetensors file written atomically."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from reid.errors import ReidError
from reid.files import atomic_path

__all__ = ["load_checkpoint", "make_room", "save_checkpoint"]

_FORMAT = "reid-checkpoint-1"


def save_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizer: optim.Optimizer, position: Mapping[str, Any]
) -> None:
    """Write the state of ``modules`` (by name), of the optimiser, and the JSON-able ``position`` (epoch,
    step, best so far).

    Raises:
        ReidError: the disk is full or the folder cannot be written; the checkpoint of before is left whole.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        for key, tensor in module.state_dict().items():
            tensors[f"{name}/{key}"] = tensor.detach().contiguous()
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer/{index}/{key}"] = torch.as_tensor(value).detach().contiguous()
    with make_room(path), atomic_path(path) as temporary:
        # Not save_file: it writes to a name of its own first, which a kill would leave behind.
        temporary.write_bytes(
            save(tensors, metadata={"format": _FORMAT, "position": json.dumps(dict(position))})
        )


@contextmanager
def make_room(path: Path) -> Iterator[None]:
    """Around writing ``path``: first remove what killed writers left beside it; where the disk is full, say
    what to do.

    Raises:
        ReidError: the file cannot be written.
    """
    for partial in path.parent.glob(f".{path.stem}-*{path.suffix}"):
        partial.unlink(missing_ok=True)
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


def load_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizer: optim.Optimizer
) -> dict[str, Any]:
    """Restore what :func:`save_checkpoint` wrote and return its position.

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
        for name, module in modules.items():
            prefix = f"{name}/"
            module.load_state_dict(
                {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ReidError(
            f"checkpoint {path} is of another network or objective ({reason}): delete it to train from "
            "the start"
        ) from error
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    # A fused optimiser walks a weight and its state side by side in memory, so both must be laid out alike
    # (channels last).
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if value.shape == weight.shape:
                kept[name] = torch.empty_like(weight).copy_(value)
    position: dict[str, Any] = json.loads(metadata["position"])
    return position
