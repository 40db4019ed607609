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

from reid.losses.counting import count_exceeding
from reid.metric.mining import Groups

__all__ = [
    "HingeSum",
    "SumAndGrad",
    "quadruplet_hinge",
    "quadruplet_hinge_and_grad",
    "triplet_hinge",
    "triplet_hinge_and_grad",
    "triplet_softplus_and_grad",
]

_OUT_OF_REACH = 1e30  # added to what is no negative; finite, so that a count of zero times it is zero


class HingeSum(NamedTuple):
    """Sum of the hinges (differentiable), number of the positive ones, number of all."""

    total: Tensor
    active: Tensor
    terms: int


class SumAndGrad(NamedTuple):
    """A sum over the triplets or quadruplets of a batch, its gradient (B, B) for each distance, and the
    number of terms that are positive; none carries a gradient of its own.
    """

    total: Tensor
    grad: Tensor
    active: Tensor


class _Linear(torch.autograd.Function):
    """Passes ``total`` on, with the gradients that were found along with it: ``grad`` (B, B) for the matrix,
    and for a 0-d margin ``active``.
    """

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, margin: Tensor | float, total: Tensor, grad: Tensor, active: Tensor
    ) -> Tensor:
        ctx.save_for_backward(grad, active)
        return total.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        grad, active = ctx.saved_tensors
        return grad * gradient, active * gradient if ctx.needs_input_grad[1] else None, None, None, None


def triplet_hinge(matrix: Tensor, margin: Tensor | float, groups: Groups) -> HingeSum:
    """Sum of ``[matrix(a, p) - matrix(a, n) + margin]+`` over all triplets.

    Args:
        matrix: (B, B) distances.
        margin: 0-d, differentiable; or a constant: a number, or (B, B) by anchor and negative.
        groups: of the labels (B,).
    """
    found = triplet_hinge_and_grad(matrix, margin, groups)
    return HingeSum(_Linear.apply(matrix, margin, *found), found.active, groups.triplets)


def quadruplet_hinge(matrix: Tensor, margin: Tensor, groups: Groups) -> HingeSum:
    """Sum of ``[matrix(i, j) - matrix(l, k) + margin]+`` over all pairs i < j of one identity and l < k of
    two others.

    As :func:`triplet_hinge`; ``matrix`` must be symmetric and ``margin`` 0-d.
    """
    found = quadruplet_hinge_and_grad(matrix, margin, groups)
    return HingeSum(_Linear.apply(matrix, margin, *found), found.active, groups.quadruplets)


@torch.no_grad()
def triplet_hinge_and_grad(matrix: Tensor, margin: Tensor | float, groups: Groups) -> SumAndGrad:
    """What :func:`triplet_hinge` sums, with the gradient; arguments likewise."""
    partner, usable = groups.partners()
    positives = matrix.gather(1, partner)
    # Row a of the values holds what d(a, p) must exceed for each n; a threshold of -inf exceeds nothing.
    values = (matrix - margin).add_(groups.same(matrix.dtype), alpha=_OUT_OF_REACH)
    thresholds = positives.masked_fill(~usable, -torch.inf)
    rows = torch.arange(len(values), device=values.device)
    reached_by, reaches = count_exceeding(thresholds, values, rows)
    # Each hinge is counted once on either side, so a constant taken from both changes nothing; near the mean
    # the two large sums lose fewer digits.
    centre = matrix.mean()
    total = _inner(reaches, positives - centre) - _inner(reached_by, values - centre)
    return SumAndGrad(total, reached_by.neg_().scatter_add_(1, partner, reaches), reaches.sum())


@torch.no_grad()
def triplet_softplus_and_grad(matrix: Tensor, groups: Groups) -> SumAndGrad:
    """Sum of ``softplus(matrix(a, p) - matrix(a, n))`` over all triplets; ``active`` counts where p is beyond
    n.
    """
    partner, usable = groups.partners()
    positives = matrix.gather(1, partner)
    counted = usable.to(matrix.dtype)
    different = 1 - groups.same(matrix.dtype)
    grad = torch.zeros_like(matrix)
    total = matrix.new_zeros(())
    wrong = matrix.new_zeros(())
    to_positives = torch.empty_like(positives)
    # One positive of every anchor at a time: B^2 memory for B^3 terms.
    for slot in range(partner.shape[1]):
        gap = positives[:, slot : slot + 1] - matrix
        terms = different * counted[:, slot : slot + 1]
        push = gap.sigmoid() * terms
        grad -= push
        to_positives[:, slot] = push.sum(1)
        total += _inner(F.softplus(gap), terms)
        wrong += _inner((gap > 0).to(terms.dtype), terms)
    return SumAndGrad(total, grad.scatter_add_(1, partner, to_positives), wrong)


@torch.no_grad()
def quadruplet_hinge_and_grad(matrix: Tensor, margin: Tensor, groups: Groups) -> SumAndGrad:
    """What :func:`quadruplet_hinge` sums, with the gradient; of the symmetric matrix only the sum of the two
    entries of a pair is its gradient.
    """
    place, usable = _positive_pairs(groups)
    values = matrix.add(groups.same(matrix.dtype), alpha=_OUT_OF_REACH)
    positives = matrix.flatten()[place] + margin
    thresholds = positives.masked_fill(~usable, -torch.inf)
    # Every negative pair stands in the matrix twice. One that shares the identity of the positive pair makes
    # a triplet, not a quadruplet: take those of either identity out again, at (l, k) those of l and at (k, l)
    # those of k.
    of_all, reaches = count_exceeding(thresholds.view(1, -1), values, torch.zeros_like(groups.group))
    of_own, reaches_own = count_exceeding(thresholds, values, groups.group)
    grad = of_own - of_all / 2
    to_positives = reaches.view_as(reaches_own) / 2 - reaches_own
    active = to_positives.sum()
    # The parts cancel exactly where no hinge is active, but their rounded sums may not.
    centre = matrix.mean()
    total = (_inner(to_positives, positives - centre) + _inner(grad, values - centre)) * (active > 0)
    # Padded pairs have a gradient of zero, wherever it is added.
    grad.view(-1).scatter_add_(0, place.flatten(), to_positives.flatten())
    return SumAndGrad(total, grad, active)


def _positive_pairs(groups: Groups) -> tuple[Tensor, Tensor]:
    """Places in the flattened (B, B) matrix of every pair of one group (P, pairs), and which of them are
    real.
    """
    width = groups.members.shape[1]
    first, second = torch.triu_indices(width, width, 1, device=groups.members.device)
    place = groups.members[:, first] * len(groups.group) + groups.members[:, second]
    return place, second < groups.sizes[:, None]


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())
