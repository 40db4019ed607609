"""Hinges summed over all triplets and all quadruplets of a batch, without a tensor that holds one entry for each.

A hinge ``[near - far]+`` over pairs of a positive and a negative distance needs, per negative, only how many positives exceed it and
their sum. So B^2 memory serves B^3 triplets and B^4 quadruplets, and the gradient is the two counts.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reid.mining import Groups

__all__ = ["HingeSum", "quadruplet_hinge", "triplet_hinge", "triplet_softplus"]


class HingeSum(NamedTuple):
    """Sum of the hinges (differentiable), number of the positive ones, number of all. Three 0-d tensors."""

    total: Tensor
    active: Tensor
    terms: Tensor


class _TripletHinge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, near: Tensor, far: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
        partner, usable = groups.partners()
        positives = torch.where(usable, near.gather(1, partner), -torch.inf)
        different = groups.group[:, None] != groups.group[None, :]
        exceeded = torch.zeros_like(far)  # per negative: how many positives of its row are farther
        slots = []
        for slot in range(partner.shape[1]):
            active = (far < positives[:, slot : slot + 1]) & different
            exceeded += active
            slots.append(active.sum(1))
        pushes = torch.stack(slots, 1).to(near.dtype)
        gradient = torch.zeros_like(near).scatter_add_(1, partner, pushes)
        ctx.save_for_backward(gradient, exceeded)
        active = pushes.sum()
        ctx.mark_non_differentiable(active)
        return (gradient * near).sum() - (exceeded * far).sum(), active

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        near, far = ctx.saved_tensors
        return near * total, -far * total, None


class _TripletSoftplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, near: Tensor, far: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
        partner, usable = groups.partners()
        different = (groups.group[:, None] != groups.group[None, :]).to(far.dtype)
        positives = near.gather(1, partner)
        pull = torch.zeros_like(far)
        pushes, wrong, total = [], far.new_zeros(()), far.new_zeros(())
        for slot in range(partner.shape[1]):
            gap = positives[:, slot : slot + 1] - far
            counted = different * usable[:, slot : slot + 1]
            total += (F.softplus(gap) * counted).sum()
            slope = gap.sigmoid() * counted
            pull += slope
            pushes.append(slope.sum(1))
            wrong += ((gap > 0) * counted).sum()
        ctx.save_for_backward(torch.zeros_like(near).scatter_add_(1, partner, torch.stack(pushes, 1)), pull)
        ctx.mark_non_differentiable(wrong)
        return total, wrong

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        near, far = ctx.saved_tensors
        return near * total, -far * total, None


def _triplet_count(groups: Groups) -> Tensor:
    size = groups.valid.sum(1)
    return (size * (size - 1) * (len(groups.group) - size)).sum()


def triplet_hinge(near: Tensor, far: Tensor, groups: Groups) -> HingeSum:
    """Sum of ``[near(a, p) - far(a, n)]+`` over all triplets.

    Args:
        near: (B, B), what positives are measured by.
        far: (B, B), what negatives are measured by: a distance less its margin.
        groups: of the labels (B,).
    """
    total, active = _TripletHinge.apply(near, far, groups)
    return HingeSum(total, active, _triplet_count(groups).to(near.dtype))


def triplet_softplus(near: Tensor, far: Tensor, groups: Groups) -> HingeSum:
    """Sum of ``softplus(near(a, p) - far(a, n))`` over all triplets, as :func:`triplet_hinge`; ``active`` counts near above far."""
    total, active = _TripletSoftplus.apply(near, far, groups)
    return HingeSum(total, active, _triplet_count(groups).to(near.dtype))


def _above(positives: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``values`` (R, M): the sum of the excess of, and the number of, the ``positives`` (R, N) of its row above it.

    ``positives`` are ascending, with -inf for padding. The third is, per positive, the number of values below it.
    """
    finite = positives.clamp_min(torch.finfo(positives.dtype).min).masked_fill(positives == -torch.inf, 0)
    suffix = torch.cat([finite.flip(1).cumsum(1).flip(1), finite.new_zeros(len(finite), 1)], 1)
    below = torch.searchsorted(positives, values, right=True)
    width = positives.shape[1]
    number = (width - below).to(values.dtype)
    rows = torch.arange(len(values), device=values.device)[:, None] * (width + 1)
    histogram = torch.bincount((below + rows).flatten(), minlength=len(values) * (width + 1)).view(len(values), width + 1)
    below_positive = histogram.cumsum(1)[:, :-1].to(values.dtype)
    return suffix.gather(1, below) - number * values, number, below_positive


class _QuadrupletHinge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, near: Tensor, far: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
        width = groups.members.shape[1]
        first, second = torch.triu_indices(width, width, 1, device=near.device)
        left, right = groups.members[:, first], groups.members[:, second]  # (P, pairs of a group)
        usable = groups.valid[:, first] & groups.valid[:, second]
        centre = near.mean()
        positives = torch.where(usable, near[left, right] - centre, -torch.inf)
        ordered, order = positives.sort(1)
        different = groups.group[:, None] != groups.group[None, :]
        values = torch.where(different, far - centre, torch.inf)

        everything, everywhere = ordered.flatten().sort()
        excess, number, pushes = _above(everything[None], values.view(1, -1))
        # A negative pair that shares the identity of the positive one makes a triplet, not a quadruplet: take those out again.
        padded = torch.where(groups.valid[..., None], values[groups.members], torch.inf).flatten(1)
        excess_own, number_own, pushes_own = _above(ordered, padded)
        gradient_far = 0.5 * number.view_as(far)
        own = number_own.view(*groups.members.shape, -1)
        gradient_far[groups.members[groups.valid]] -= own[groups.valid]
        gradient_positive = torch.zeros_like(positives).flatten().index_put_((everywhere,), 0.5 * pushes[0]).view_as(positives)
        gradient_positive = torch.zeros_like(positives).scatter_(1, order, gradient_positive - pushes_own) * usable
        gradient_near = torch.zeros_like(near).index_put_((left, right), gradient_positive, accumulate=True)
        ctx.save_for_backward(gradient_near, gradient_far)
        finite = different.flatten()
        total = 0.5 * excess.flatten()[finite].sum() - excess_own[padded < torch.inf].sum()
        active = gradient_positive.sum()
        ctx.mark_non_differentiable(active)
        return total, active

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        near, far = ctx.saved_tensors
        return near * total, -far * total, None


def quadruplet_hinge(near: Tensor, far: Tensor, groups: Groups) -> HingeSum:
    """Sum of ``[near(i, j) - far(l, k)]+`` over all pairs i < j of one identity and l < k of two others.

    ``near`` and ``far`` (B, B) must be symmetric.
    """
    if groups.members.shape[1] < 2:
        nothing = near.new_zeros(())
        return HingeSum((near * 0).sum(), nothing, nothing)
    total, active = _QuadrupletHinge.apply(near, far, groups)
    size = groups.valid.sum(1)
    rest = len(near) - size
    others = (rest * rest - ((size * size).sum() - size * size)) / 2
    return HingeSum(total, active, (size * (size - 1) / 2 * others).sum().to(near.dtype))
