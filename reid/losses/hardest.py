"""The hardest quadruplet of every anchor."""

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.losses.hinge_sums import HingeSum
from reid.metric import mining

__all__ = ["hardest_quadruplets"]


def hardest_quadruplets(
    matrix: Tensor, labels: Tensor, first: Tensor, second: Tensor
) -> tuple[HingeSum, HingeSum]:
    """The hardest triplet of each anchor, and its positive pair against the nearest pair of two other
    identities.
    """
    triplets = mining.batch_hard(matrix, labels)
    near = matrix[triplets.anchor, triplets.positive]
    near_gap = near - matrix[triplets.anchor, triplets.negative] + first
    left, right = _nearest_foreign_pairs(matrix.detach(), labels)
    left, right = left[triplets.anchor], right[triplets.anchor]
    exists = left >= 0
    foreign_gap = near[exists] - matrix[left[exists], right[exists]] + second
    return _hinge_of(near_gap, matrix), _hinge_of(foreign_gap, matrix)


def _hinge_of(gap: Tensor, matrix: Tensor) -> HingeSum:
    total = F.relu(gap).sum() + (matrix * 0).sum()
    return HingeSum(total, (gap > 0).sum().to(gap.dtype), len(gap))


def _nearest_foreign_pairs(matrix: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each row the nearest pair of two other identities, as two (B,) of row numbers; -1 where there is
    none.
    """
    distances = matrix.masked_fill(labels[:, None] == labels[None, :], torch.inf)
    left, right = _nearest_pair(distances)
    every_left, every_right = torch.full_like(labels, left), torch.full_like(labels, right)
    # The nearest pair of all serves everyone but the two identities it belongs to.
    for owner in (left, right) if left >= 0 else ():
        own = labels == labels[owner]
        pair = _nearest_pair(distances.masked_fill(own[:, None] | own[None, :], torch.inf))
        every_left[own], every_right[own] = pair
    return every_left, every_right


def _nearest_pair(distances: Tensor) -> tuple[int, int]:
    """Row and column of the least finite entry of a (B, B) matrix; -1, -1 where there is none."""
    place = int(distances.argmin())
    if distances.flatten()[place] == torch.inf:
        return -1, -1
    return divmod(place, len(distances))
