"""Ways to run the trunk: memory layout, precision, frozen or not."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from reid.training.cpu_operations import CpuOperations

__all__ = ["forward_mode", "freeze", "half_precision", "layout"]


def layout(channels_last: bool) -> torch.memory_format:
    """Of the weights and the images."""
    return torch.channels_last if channels_last else torch.contiguous_format


def half_precision(precision: str) -> bool:
    """Whether the trunk runs in bfloat16, whose range is that of float32, so that no loss needs scaling.

    ``auto``: where the GPU, or without one the processor, calculates in it.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot tell
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@contextmanager
def forward_mode(device: torch.device, half: bool) -> Iterator[None]:
    """How the trunk runs forward while it trains."""
    with torch.autocast(device.type, torch.bfloat16, enabled=half), CpuOperations() if device.type == "cpu" else nullcontext():
        yield


def freeze(trunk: nn.Module, frozen: bool) -> None:
    """A frozen trunk keeps its weights and the statistics of its batch normalisation."""
    trunk.requires_grad_(not frozen)
    trunk.train(not frozen)
