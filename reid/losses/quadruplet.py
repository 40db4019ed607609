"""Quadruplet loss with learned metric and adaptive margin (Chen, Chen, Zhang and Huang 2017)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid import mining
from reid.distances import squared_distances
from reid.errors import UsageError
from reid.losses.hinge_sums import HingeSum, quadruplet_hinge, triplet_hinge
from reid.losses.output import LossOutput, checked, split_means
from reid.models.pair_metric import PairMetric

__all__ = ["QuadrupletLoss"]


class QuadrupletLoss(nn.Module):
    """``[g(i,j)^2 - g(i,k)^2 + a1]+`` over triplets plus ``[g(i,j)^2 - g(l,k)^2 + a2]+`` over quadruplets (Chen 2017, equations 4 to 8).

    y_i = y_j, and i, k, l are of three identities. Each of the two terms is a mean. With the learned metric the classification loss of
    the pairs, which trains the metric, is added.

    Args:
        metric: ``learned`` takes g from a :class:`PairMetric`, in 0..1; ``euclidean`` takes the Euclidean distance for g.
        adaptive: margins ``w (mu_n - mu_p)`` from the batch, w = 1 and 0.5, never below 0, in place of the fixed ones.
        margins: a1 and a2 when fixed, and during the warm-up, in units of g squared.
        warmup_steps: training steps on the fixed margins before they adapt.
        detach_margin: keep the gradient out of the means. When it flows and every triplet is active, the first term nearly cancels.
        selection: ``margin`` averages over the hinges that the margin selects, those above zero (MargOHNM); ``all`` over every hinge;
            ``hardest`` takes the hardest positive, the nearest negative and the nearest foreign pair of each anchor.
        pair_weight: of the pair classification loss; only with the learned metric.
        quadruplet_weight: of the second term; 0 leaves a triplet loss.
        normalise: L2-normalise the embeddings of the Euclidean metric (the learned one always does).
        embedding_dim: D, needed by the learned metric.
    """

    step: Tensor

    def __init__(
        self,
        metric: Literal["learned", "euclidean"] = "learned",
        adaptive: bool = True,
        margins: tuple[float, float] = (1.0, 0.5),
        warmup_steps: int = 0,
        detach_margin: bool = True,
        selection: Literal["margin", "all", "hardest"] = "margin",
        pair_weight: float = 1.0,
        quadruplet_weight: float = 1.0,
        normalise: bool = False,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        if metric not in ("learned", "euclidean"):
            raise UsageError(f"metric of the quadruplet objective is {metric!r}: take learned or euclidean")
        if selection not in ("margin", "all", "hardest"):
            raise UsageError(f"selection of the quadruplet objective is {selection!r}: take margin, all or hardest")
        if metric == "learned" and embedding_dim is None:
            raise UsageError("the learned metric of the quadruplet objective needs embedding_dim: pass it, or take metric: euclidean")
        self.pair_metric = PairMetric(embedding_dim) if metric == "learned" and embedding_dim is not None else None
        self.adaptive, self.margins, self.warmup_steps, self.detach_margin = adaptive, margins, warmup_steps, detach_margin
        self.selection, self.normalise = selection, normalise
        self.pair_weight, self.quadruplet_weight = pair_weight, quadruplet_weight
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). In training each call is a step of the warm-up. Raises ReidError."""
        embeddings, labels = checked(embeddings, labels)
        extras: dict[str, Tensor] = {}
        if self.pair_metric is not None:
            logits = self.pair_metric.logits(embeddings)
            pair_loss = self.pair_metric.classification_loss(logits, labels)
            extras["pair_loss"] = pair_loss
            matrix = logits.sigmoid().square()
        else:
            pair_loss = None
            matrix = squared_distances(F.normalize(embeddings) if self.normalise else embeddings)
        first_margin, second_margin = self._margins_of(matrix, labels)
        hinges = self._hinges(matrix, labels, first_margin, second_margin)
        first, second = (self._mean(hinge) for hinge in hinges)
        value = first + self.quadruplet_weight * second
        if pair_loss is not None:
            value = value + self.pair_weight * pair_loss
        active = (hinges[0].active + hinges[1].active) / (hinges[0].terms + hinges[1].terms).clamp_min(1)
        extras |= {"margin_1": first_margin, "margin_2": second_margin, "triplet": first, "quadruplet": second}
        extras = {name: extra.detach() for name, extra in extras.items()}
        if self.training:
            self.step += 1
        return LossOutput(value, active, *self._means(matrix.detach(), labels), extras)

    def _means(self, matrix: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return split_means(matrix.clone().fill_diagonal_(0), labels)

    def _margins_of(self, matrix: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """a1 and a2 for this batch (Chen 2017, equation 8)."""
        if not self.adaptive or self.step < self.warmup_steps:
            return matrix.new_tensor(self.margins[0]), matrix.new_tensor(self.margins[1])
        measured = matrix.detach() if self.detach_margin else matrix
        positive, negative = mining.positive_mask(labels), mining.negative_mask(labels)
        mean_positive = (measured * positive).sum() / positive.sum().clamp_min(1)
        mean_negative = (measured * negative).sum() / negative.sum().clamp_min(1)
        gap = (mean_negative - mean_positive).clamp_min(0)
        return gap, 0.5 * gap

    def _hinges(self, matrix: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> tuple[HingeSum, HingeSum]:
        if self.selection == "hardest":
            return _hardest(matrix, labels, first, second)
        groups = mining.Groups.of(labels)
        return triplet_hinge(matrix, matrix - first, groups), quadruplet_hinge(matrix, matrix - second, groups)

    def _mean(self, hinge: HingeSum) -> Tensor:
        return hinge.total / (hinge.active if self.selection == "margin" else hinge.terms).clamp_min(1)


def _hardest(matrix: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> tuple[HingeSum, HingeSum]:
    """The hardest triplet of each anchor, and its positive pair against the nearest pair of two other identities."""
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
    return HingeSum(total, (gap > 0).sum().to(gap.dtype), torch.tensor(float(len(gap)), dtype=gap.dtype, device=gap.device))


def _nearest_foreign_pairs(matrix: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each row the nearest pair of two other identities, as two (B,) of row numbers; -1 where there is none."""
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
