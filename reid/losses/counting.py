"""How many thresholds exceed each of very many values, and the reverse: all that a sum of hinges and its
gradient need.
"""

import torch
from torch import Tensor

from reid.metric import host

__all__ = ["count_exceeding"]


def count_exceeding(thresholds: Tensor, values: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Compare every value with all thresholds of its row, by halving.

    Args:
        thresholds: (R, N); -inf pads rows that have fewer.
        values: (B, M), finite.
        row: (B,) int64, which row of the thresholds holds for a row of values.

    Returns:
        (B, M) the number of thresholds above each value, and (R, N) the number of values below each
            threshold, both floating.
    """
    ascending, order = thresholds.sort(1)
    number = thresholds.shape[1] - torch.searchsorted(ascending.index_select(0, row), values, right=True).to(
        values.dtype
    )
    # A value lies below as many of the highest thresholds as exceed it: one histogram and a running sum count
    # them for every threshold.
    width = thresholds.shape[1] + 1
    bins = torch.rsub(number, width - 1).int().add_((row * width).int()[:, None])
    histogram = _histogram(bins.flatten(), len(thresholds) * width).view(len(thresholds), width)
    below = histogram.cumsum(1)[:, :-1].to(thresholds.dtype)
    return number, torch.empty_like(below).scatter_(1, order, below)


def _histogram(bins: Tensor, size: int) -> Tensor:
    """How often each number from 0 to ``size - 1`` occurs, int64."""
    if host.is_near(bins):
        return torch.bincount(bins, minlength=size)
    # A GPU's bincount waits for the largest; sums of whole numbers come out the same in any order.
    counts = torch.zeros(size, dtype=torch.int64, device=bins.device)
    return counts.scatter_add_(0, bins.long(), torch.ones_like(bins, dtype=torch.int64))
