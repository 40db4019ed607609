"""Hinges summed over all triplets and all quadruplets of a batch, without a tensor that holds one entry for
each.

The gradient of a sum of hinges ``[near - far + margin]+`` is two counts: how many negatives lie within reach
of each positive distance, and how many positives reach each negative one. With them the sum itself is linear
in the distances, so B^2 memory serves B^3 triplets and B^4 quadruplets.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reid.loops import quadruplet_sums, triplet_sums
from reid.losses.counting import count_exceeding
from reid.metric.distances import array_of, number_like
from reid.metric.mining import Groups

__all__ = ["HingeSum", "quadruplet_hinge", "sloped_hinge", "sloped_softplus", "triplet_hinge"]

_OUT_OF_REACH = 1e30  # added to what is no negative; finite, so that a count of zero times it is zero


class HingeSum(NamedTuple):
    """Sum of the hinges (differentiable), number of the positive ones, number of all."""

    total: Tensor
    active: Tensor
    terms: int


class _Linear(torch.autograd.Function):
    """Passes ``total`` on, with the gradients that were found along with it: ``slope`` (B, B), and for a 0-d
    margin ``active``.
    """

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, margin: Tensor | float, total: Tensor, slope: Tensor, active: Tensor
    ) -> Tensor:
        ctx.save_for_backward(slope, active)
        return total.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        slope, active = ctx.saved_tensors
        return slope * gradient, active * gradient if ctx.needs_input_grad[1] else None, None, None, None


def triplet_hinge(matrix: Tensor, margin: Tensor | float, groups: Groups) -> HingeSum:
    """Sum of ``[matrix(a, p) - matrix(a, n) + margin]+`` over all triplets.

    Args:
        matrix: (B, B) distances.
        margin: 0-d, differentiable; or a constant: a number, or (B, B) by anchor and negative.
        groups: of the labels (B,).
    """
    return _hinge_sum(matrix, margin, *sloped_hinge(matrix, margin, groups), groups.triplets)


def sloped_hinge(
    matrix: Tensor, margin: Tensor | float, groups: Groups
) -> tuple[Tensor | float, Tensor, Tensor | float]:
    """Of :func:`triplet_hinge` the sum, its slope (B, B) and the number of positive hinges, without a
    gradient.
    """
    if matrix.device.type != "cpu":
        return _triplets_by_tensors(matrix, margin, groups)
    slope = torch.empty(matrix.shape, dtype=matrix.dtype)
    single = not isinstance(margin, Tensor) or not margin.ndim
    distances = array_of(matrix)
    near, less = (
        (distances, number_like(matrix, margin).item()) if single else (array_of(matrix - margin), 0.0)
    )
    total, active = triplet_sums(distances, near, less, *groups.arrays, slope.numpy())
    return total, slope, active


@torch.no_grad()
def _triplets_by_tensors(
    matrix: Tensor, margin: Tensor | float, groups: Groups
) -> tuple[Tensor, Tensor, Tensor]:
    partner, usable = groups.partners()
    centre = matrix.mean()
    values = (matrix - margin).add_(groups.same(matrix.dtype), alpha=_OUT_OF_REACH)
    positives = matrix.gather(1, partner)
    number, pushes = count_exceeding(
        positives.masked_fill(~usable, -torch.inf), values, torch.arange(len(values), device=values.device)
    )
    total, active = _inner(pushes, positives - centre) - _inner(number, values - centre), pushes.sum()
    return total, number.neg_().scatter_add_(1, partner, pushes), active


@torch.no_grad()
def sloped_softplus(matrix: Tensor, groups: Groups) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of ``softplus(matrix(a, p) - matrix(a, n))`` over all triplets, its slope (B, B), and how often p
    is beyond n.
    """
    partner, usable = groups.partners()
    positives, counted, different = (
        matrix.gather(1, partner),
        usable.to(matrix.dtype),
        1 - groups.same(matrix.dtype),
    )
    slope, total, wrong = torch.zeros_like(matrix), matrix.new_zeros(()), matrix.new_zeros(())
    pushes = torch.empty_like(positives)
    for slot in range(partner.shape[1]):
        gap = positives[:, slot : slot + 1] - matrix
        terms = different * counted[:, slot : slot + 1]
        push = gap.sigmoid() * terms
        slope -= push
        pushes[:, slot] = push.sum(1)
        total += _inner(F.softplus(gap), terms)
        wrong += _inner((gap > 0).to(terms.dtype), terms)
    return total, slope.scatter_add_(1, partner, pushes), wrong


def quadruplet_hinge(matrix: Tensor, margin: Tensor, groups: Groups) -> HingeSum:
    """Sum of ``[matrix(i, j) - matrix(l, k) + margin]+`` over all pairs i < j of one identity and l < k of
    two others.

    As :func:`triplet_hinge`; ``matrix`` must be symmetric and ``margin`` 0-d.
    """
    return _hinge_sum(matrix, margin, *_sloped_quadruplets(matrix, margin, groups), groups.quadruplets)


def _hinge_sum(
    matrix: Tensor,
    margin: Tensor | float,
    total: Tensor | float,
    slope: Tensor,
    active: Tensor | float,
    terms: int,
) -> HingeSum:
    active = number_like(matrix, active)
    return HingeSum(_Linear.apply(matrix, margin, number_like(matrix, total), slope, active), active, terms)


def _sloped_quadruplets(
    matrix: Tensor, margin: Tensor, groups: Groups
) -> tuple[Tensor | float, Tensor, Tensor | float]:
    if matrix.device.type != "cpu":
        return _quadruplets_by_tensors(matrix, margin, groups)
    slope = torch.empty(matrix.shape, dtype=matrix.dtype)
    total, active = quadruplet_sums(array_of(matrix), margin.item(), *groups.arrays, slope.numpy())
    return total, slope, active


@torch.no_grad()
def _quadruplets_by_tensors(matrix: Tensor, margin: Tensor, groups: Groups) -> tuple[Tensor, Tensor, Tensor]:
    place, usable = _positive_pairs(groups)
    centre = matrix.mean()
    values = matrix.add(groups.same(matrix.dtype), alpha=_OUT_OF_REACH)
    positives = matrix.flatten()[place] + margin
    thresholds = positives.masked_fill(~usable, -torch.inf)
    # Every negative pair stands in the matrix twice. One that shares the identity of the positive pair makes
    # a triplet, not a quadruplet: take those of either identity out again, at (l, k) those of l and at (k, l)
    # those of k.
    number, pushes = count_exceeding(thresholds.view(1, -1), values, torch.zeros_like(groups.group))
    number_own, pushes_own = count_exceeding(thresholds, values, groups.group)
    slope, pushes = number_own - number / 2, pushes.view_as(pushes_own) / 2 - pushes_own
    active = pushes.sum()
    # The parts cancel exactly where no hinge is active, but their rounded sums may not.
    total = (_inner(pushes, positives - centre) + _inner(slope, values - centre)) * (active > 0)
    # Padded pairs have a push of zero, wherever it is added.
    slope.view(-1).scatter_add_(0, place.flatten(), pushes.flatten())
    return total, slope, active


def _positive_pairs(groups: Groups) -> tuple[Tensor, Tensor]:
    """Places in the flattened (B, B) matrix of every pair of one group (P, pairs), and which of them are
    real.
    """
    width = groups.members.shape[1]
    first, second = torch.triu_indices(width, width, 1, device=groups.members.device)
    return groups.members[:, first] * len(groups.group) + groups.members[:, second], second < groups.sizes[
        :, None
    ]


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())
