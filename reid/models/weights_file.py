"""Weights that other programs saved: read without executing anything in them, and held against the network
they are said to be of.
"""

import json
import pickle
import re
import shlex
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reid.errors import ReidError, UsageError
from reid.files import existing

__all__ = ["conversion_command", "describe_difference", "load_weights", "read_weights"]

# Where training programs put the network among the epoch, the optimizer and the figures: torchreid, FastReID,
# others.
_KEYS = ("state_dict", "model", "model_state_dict", "net")
_SCALARS = (np.bool_, np.int32, np.int64, np.float32, np.float64)
_SHOWN = 3  # names of tensors in a message
# What torch's reader of weights alone says of a pickle that wants a class or a function it does not know.
_FOREIGN = re.compile(r"(?:GLOBAL|function|class|instantiate) ([\w.]+)")


def _numpy_scalars() -> list[Any]:
    """What a pickled NumPy number is made of; a checkpoint of torchreid's holds its rank-1 as one.

    The function that makes one is had from a number itself, under the names of NumPy 1 and 2: neither module
    is public.
    """
    make = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((make, name) for name in names), np.dtype, *(type(np.dtype(scalar)) for scalar in _SCALARS)]


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a network from a safetensors file, a state dict or a training checkpoint.

    Nothing in the file is executed: torch's reader of weights alone reads it, with NumPy's numbers allowed
    beside tensors.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote: a state dict, or a dictionary that holds one
            under ``state_dict``, ``model``, ``model_state_dict`` or ``net``.

    Returns:
        Tensors by name, without the prefix ``module.`` of DataParallel.

    Raises:
        UsageError: the file is missing, or a folder.
        ReidError: it is damaged, holds code, no network or numbers that are not finite; the message says the
            way out.
    """
    path = existing(path, "weights")
    if path.is_dir():
        raise UsageError(
            f"weights {path} are a folder: name a .safetensors or .pth file; a training cannot go on from a "
            "model directory"
        )
    found = _network(_read(path))
    if not found:
        raise ReidError(
            f"weights {path} hold no network: none of the keys {', '.join(_KEYS)} is a dictionary of tensors"
        )
    broken = [name for name, value in found.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ReidError(
            f"weights {path} hold numbers that are not finite, in {len(broken)} of {len(found)} tensors: "
            f"{_some(broken)}: the training ran away, take an earlier checkpoint"
        )
    return found


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            # whether it could be read is said below
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ReidError(
            f"weights {path} are not a safetensors file, or truncated: fetch or save them again"
        ) from error
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from error
    # torch.load answers a damaged file with whatever its zip, pickle or tar reader happens to raise
    except Exception as error:
        raise ReidError(
            f"weights {path} are damaged or truncated ({_first_line(error)}): fetch or save them again"
        ) from error


def _refused(path: Path, reason: str) -> ReidError:
    foreign = _FOREIGN.search(reason)
    if foreign is None and not zipfile.is_zipfile(path):
        return ReidError(
            f"weights {path} are damaged, or not written by torch.save: fetch or save them again"
        )
    what = foreign.group(1) if foreign else "a pickle that torch cannot read as weights alone"
    return ReidError(
        f"weights {path} hold more than tensors and numbers ({what}), which was not loaded, because "
        "loading it runs code of the file's "
        f"maker: if you trust them, run in the environment that saved it: {conversion_command(path)}"
    )


def conversion_command(path: Path) -> str:
    """The command that turns a checkpoint with Python objects into a plain state dict, in the environment
    that can load it.
    """
    given, target = json.dumps(str(path)), json.dumps(f"{path}.plain.pth")
    script = (
        f'import torch; plain = lambda c: getattr(c, "state_dict", lambda: c)(); '
        f'c = plain(torch.load({given}, map_location="cpu", weights_only=False)); c = '
        'plain(c.get("state_dict", c.get("model", c))); '
        f"torch.save({{k: v for k, v in c.items() if torch.is_tensor(v)}}, {target})"
    )
    return f"python -c {shlex.quote(script)}"


def _network(loaded: object) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        return {}
    for inner in (loaded[key] for key in _KEYS if isinstance(loaded.get(key), Mapping)):
        if found := _network(inner):
            return found
    # A state dict holds tensors alone, but for what a program added at its top.
    if not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        return {}
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}


def load_weights(net: nn.Module, given: Mapping[str, Tensor], head: tuple[str, ...], what: str) -> None:
    """Load weights into a network, all of them but its head.

    Args:
        net: the network.
        given: tensors by name.
        head: prefixes of names that neither side needs: the classifier, which has as many rows as the
            training had people.
        what: file and network, for the message.

    Raises:
        ReidError: a tensor is missing, too many or of another shape; the message names the first of each
            kind.
    """
    wanted = {key: value for key, value in net.state_dict().items() if not key.startswith(head)}
    given = {key: value for key, value in given.items() if not key.startswith(head)}
    difference = describe_difference(wanted, given)
    if difference:
        raise ReidError(f"{what}: {difference}")
    net.load_state_dict(given, strict=False)


def describe_difference(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """How tensors differ from those wanted, in words; empty where they fit.

    BatchNorm's step counter does not count: it came late, older files lack it, and evaluation never reads it.
    """
    needed, had = (
        {key for key in side if not key.endswith("num_batches_tracked")} for side in (wanted, given)
    )
    shapes = [
        f"{key} ({_shape(given[key])} instead of {_shape(wanted[key])})"
        for key in wanted
        if key in needed & had and given[key].shape != wanted[key].shape
    ]
    kinds = (
        (shapes, "of another shape"),
        ([key for key in wanted if key in needed - had], "missing"),
        ([key for key in given if key in had - needed], "unknown to it"),
    )
    return "; ".join(
        f"{len(names)} of {len(needed)} tensors {word}: {_some(names)}" for names, word in kinds if names
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # what follows the first sentence is advice to torch's own developers
    return lines[0].partition(". ")[0][:120] if lines else type(error).__name__
