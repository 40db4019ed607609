"""Averaged weights: what a training returns and validates on the way, and the slow networks that keys come
from.
"""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["AveragedWeights"]

Net = TypeVar("Net", bound=nn.Module)


class AveragedWeights(nn.Module, Generic[Net]):
    """Exponential moving average of a model's weights and running statistics (Tarvainen and Valpola 2017,
    section 3).

    It forgets faster in the beginning, since a short training must not end near its start. The two lists of
    tensors are made once: torch's own ``AveragedModel`` sorts them anew for every step, which takes six times
    as long as the averaging.

    Args:
        model: what to follow; its tensors must stay the same objects.
        decay: share of the past that a step keeps, once the beginning is over.
    """

    n_averaged: Tensor

    def __init__(self, model: Net, decay: float) -> None:
        super().__init__()
        self.module: Net = deepcopy(model)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0))
        self._count: int | None = None  # what n_averaged holds, where that was looked at
        self.register_load_state_dict_post_hook(_forget_count)
        ours, theirs = (list(m.state_dict(keep_vars=True).values()) for m in (self.module, model))
        self._fractions = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
        self._counters = [(a, b) for a, b in zip(ours, theirs, strict=True) if not a.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        # The buffer is what a checkpoint keeps; to look at it on a GPU would be to wait.
        if self._count is None:
            self._count = int(self.n_averaged)
        count = self._count
        keep = min(self.decay, (1 + count) / (10 + count)) if count else 0.0
        averaged, current = map(list, zip(*self._fractions, strict=True))
        torch._foreach_lerp_(averaged, current, 1 - keep)
        if self._counters:  # BatchNorm's counters
            averaged, current = map(list, zip(*self._counters, strict=True))
            torch._foreach_copy_(averaged, current)
        self.n_averaged += 1
        self._count = count + 1


def _forget_count(module: nn.Module, incompatible: object) -> None:
    assert isinstance(module, AveragedWeights)
    module._count = None
