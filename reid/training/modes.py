"""Ways to run the trunk: memory layout, precision, frozen or not."""

import torch
from torch import nn

__all__ = ["freeze", "half_precision", "layout"]


def layout(channels_last: bool) -> torch.memory_format:
    """Of the weights and the images."""
    return torch.channels_last if channels_last else torch.contiguous_format


def half_precision(precision: str) -> bool:
    """Whether the trunk runs in bfloat16, whose range is that of float32, so that no loss needs scaling; ``auto`` where a GPU has it."""
    if precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def freeze(trunk: nn.Module, frozen: bool) -> None:
    """A frozen trunk keeps its weights and the statistics of its batch normalisation."""
    trunk.requires_grad_(not frozen)
    trunk.train(not frozen)
