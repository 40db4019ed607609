"""How many thresholds exceed each of very many values, and the reverse: all that a sum of hinges and its
gradient need.
"""

import torch
from torch import Tensor

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
    histogram = torch.bincount(bins.flatten(), minlength=len(thresholds) * width).view(len(thresholds), width)
    below = histogram.cumsum(1)[:, :-1].to(thresholds.dtype)
    return number, torch.empty_like(below).scatter_(1, order, below)
