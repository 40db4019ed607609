"""Hard negatives that are made: wrappers around a loss that chooses triplets."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.losses.output import LossOutput
from reid.losses.triplet import MarginLoss
from reid.metric.distances import full_precision, paired_distances, pairwise_distances, unit_rows
from reid.metric.mining import Groups, Triplets
from reid.options import fitting, one_of

__all__ = ["SYNTHESES", "SymmetricalSynthesis", "build_synthesis", "reflected"]


def reflected(points: Tensor, axes: Tensor) -> Tensor:
    """Rows of ``points`` (N, D) mirrored at the lines through the origin and the rows of ``axes`` (N, D):
    ``2 (x . u) u - x`` with u the unit vector of the axis (Gu and Ko 2020, alpha 2 and beta 1).

    Norms are kept, and so is the angle to the axis.
    """
    with full_precision(points):
        unit = unit_rows(axes)
        return 2 * (points * unit).sum(1, keepdim=True) * unit - points


class SymmetricalSynthesis(nn.Module):
    """Symmetrical synthesis (Gu and Ko 2020): two images of a person, mirrored at each other, are two more
    points of that person; of a triplet the negative distance is the smallest between the four points of the
    one person and the four of the other.

    The four are anchor and positive with their mirror images, and the negative and another image of its
    person with theirs; positive distances stay those of real images. A made negative is never farther than
    the real one, so the value is never below that of the loss over the same triplets.

    Args:
        loss: chooses the triplets, on the real images, and says margin, soft margin and the distance.
        begin: training steps before negatives are made.
        rise: further steps in which their share of the value rises from 0 to 1.

    Raises:
        UsageError: the loss chooses no triplets, or a number is below 0.
    """

    step: Tensor

    def __init__(self, loss: nn.Module, begin: int = 0, rise: int = 0) -> None:
        super().__init__()
        if not isinstance(loss, MarginLoss):
            raise UsageError(
                "synthesis makes the negatives of triplets, and this loss chooses none: take triplet, "
                "batch_hard, batch_all, batch_semi_hard, easy_positive or distance_weighted"
            )
        if begin < 0 or rise < 0:
            raise UsageError(f"begin and rise of the synthesis are {begin} and {rise}: take 0 or more steps")
        self.loss = loss
        self.begin = begin
        self.rise = rise
        self.miner = getattr(loss, "miner", "")
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def share(self) -> float:
        """Of the value with made negatives in the whole value, at this step."""
        past = int(self.step) - self.begin
        return float(past >= 0) if not self.rise else min(1.0, max(0.0, past / self.rise))

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). In training each call is a step of the schedule.
        Raises ReidError where an embedding is not finite.
        """
        share, output = self.share(), self.loss(embeddings, labels)
        if self.training:
            self.step += 1
        if share:
            output = self._with_made(output, share, *self.loss.prepared(embeddings, labels))
        share_then = torch.full_like(output.active_fraction, share)
        return output._replace(extras={**output.extras, "share_of_made": share_then})

    def _with_made(self, plain: LossOutput, share: float, x: Tensor, labels: Tensor) -> LossOutput:
        squared = self.loss.squared
        seen = pairwise_distances(x.detach(), squared=squared)
        triplets = self.loss.choose(seen, labels, x.shape[1])
        anchors, positives = (x.index_select(0, rows) for rows in triplets[:2])
        gap = paired_distances(anchors, positives, squared=squared) - _hardest(x, labels, triplets, squared)
        made = self.loss.reduced(gap, x, (plain.mean_positive, plain.mean_negative))
        return made._replace(value=(1 - share) * plain.value + share * made.value)


def _hardest(x: Tensor, labels: Tensor, triplets: Triplets, squared: bool) -> Tensor:
    """The smallest distance (T,) between the four points on either side of each triplet."""
    negative = triplets.negative
    sides = [
        (x.index_select(0, triplets.anchor), x.index_select(0, triplets.positive)),
        (x.index_select(0, negative), x.index_select(0, _next_of_person(labels)[negative])),
    ]
    one, other = (torch.stack([a, b, reflected(a, b), reflected(b, a)], 1) for a, b in sides)
    # Only the nearest pair carries a gradient, and its distance is taken anew from the difference.
    place = torch.cdist(one.detach(), other.detach()).flatten(1).argmin(1)
    left, right = (
        points.gather(1, index[:, None, None].expand(-1, 1, points.shape[2])).squeeze(1)
        for points, index in ((one, place // 4), (other, place % 4))
    )
    return paired_distances(left, right, squared=squared)


def _next_of_person(labels: Tensor) -> Tensor:
    """For each row (B,) the next of its person in turn; the row itself where the person has one: mirrored at
    itself, it makes no new point.
    """
    groups = Groups.of(labels)
    following = torch.empty_like(groups.group)
    for rows, size in zip(groups.members, groups.counts, strict=True):
        following[rows[:size]] = rows[:size].roll(-1)
    return following


SYNTHESES: dict[str, Callable[..., nn.Module]] = {"symmetrical": SymmetricalSynthesis}


def build_synthesis(name: str, options: Mapping[str, Any], loss: nn.Module) -> nn.Module:
    """``loss`` with negatives made as ``name`` says.

    Raises:
        UsageError: an unknown name or option, or a loss without triplets.
    """
    make = partial(one_of(SYNTHESES, name, "synthesis"), loss)
    built: nn.Module = make(**fitting(make, options, f"synthesis {name}"))
    return built
