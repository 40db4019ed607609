"""Choosing pairs and triplets: inside a batch from its distance matrix, and over a whole training set in blocks."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Triplets", "batch_hard", "negative_mask", "positive_mask"]


class Triplets(NamedTuple):
    """Row numbers, three int64 tensors (T,). An anchor is never its own positive."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


def positive_mask(labels: Tensor) -> Tensor:
    """(B, B) bool: same label and not the same row."""
    return (labels[:, None] == labels[None, :]).fill_diagonal_(False)


def negative_mask(labels: Tensor) -> Tensor:
    """(B, B) bool: different labels."""
    return labels[:, None] != labels[None, :]


@torch.no_grad()
def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """The farthest positive and the nearest negative of every anchor that has both (Hermans 2017, section 2)."""
    same = labels[:, None] == labels[None, :]
    # Distances are never negative, so -1 marks the forbidden; the diagonal is same but never the farthest unless there is no other.
    candidates = torch.where(same, distances, -1.0).fill_diagonal_(-1.0)
    farthest, positive = candidates.max(1)
    nearest, negative = distances.masked_fill(same, torch.inf).min(1)
    anchor = ((farthest >= 0) & (nearest < torch.inf)).nonzero().flatten()
    return Triplets(anchor, positive[anchor], negative[anchor])
