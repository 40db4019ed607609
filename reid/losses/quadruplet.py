"""Quadruplet loss with learned metric and adaptive margin (Chen, Chen, Zhang and Huang 2017)."""

from typing import Literal

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.losses.hardest import hardest_quadruplets
from reid.losses.hinge_sums import HingeSum, quadruplet_hinge, triplet_hinge
from reid.losses.output import LossOutput, checked, split_means
from reid.metric import mining
from reid.metric.distances import squared_distances, unit_rows
from reid.models.pair_metric import PairMetric
from reid.options import Count

__all__ = ["QuadrupletLoss"]


class QuadrupletLoss(nn.Module):
    """``[g(i,j)^2 - g(i,k)^2 + a1]+`` over triplets plus ``[g(i,j)^2 - g(l,k)^2 + a2]+`` over quadruplets
    (Chen 2017, equations 4 to 8).

    y_i = y_j, and i, k, l are of three identities. Each of the two terms is a mean. With the learned metric
    the classification loss of the pairs, which trains the metric, is added.

    Args:
        metric: ``learned`` takes g from a :class:`PairMetric`, in 0..1; ``euclidean`` takes the Euclidean
            distance for g.
        adaptive: margins ``w (mu_n - mu_p)`` from the batch, w = 1 and 0.5, never below 0, in place of the
            fixed ones.
        margins: a1 and a2 when fixed, and during the warm-up, in units of g squared.
        warmup_steps: training steps on the fixed margins before they adapt.
        detach_margin: keep the gradient out of the means. When it flows and every triplet is active, the
            first term nearly cancels.
        selection: ``margin`` averages over the hinges that the margin selects, those above zero (MargOHNM);
            ``all`` over every hinge;
            ``hardest`` takes the hardest positive, the nearest negative and the nearest foreign pair of each
                anchor.
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
        warmup_steps: Count = 0,
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
            raise UsageError(
                f"selection of the quadruplet objective is {selection!r}: take margin, all or hardest"
            )
        if metric == "learned" and embedding_dim is None:
            raise UsageError(
                "the learned metric of the quadruplet objective needs embedding_dim: pass it, or take "
                "metric: euclidean"
            )
        self.pair_metric = (
            PairMetric(embedding_dim) if metric == "learned" and embedding_dim is not None else None
        )
        self.adaptive = adaptive
        self.margins = margins
        self.warmup_steps = warmup_steps
        self.detach_margin = detach_margin
        self.selection, self.normalise = selection, normalise
        self.pair_weight, self.quadruplet_weight = pair_weight, quadruplet_weight
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). In training each call is a step of the warm-up. Raises
        ReidError.
        """
        embeddings, labels = checked(embeddings, labels)
        matrix, pair_loss = self._measure(embeddings, labels)
        groups = mining.Groups.of(labels)
        means = split_means(matrix.detach() if self.detach_margin else matrix, groups)
        margins = self._margins_of(*means)
        if self.selection == "hardest":
            hinges = hardest_quadruplets(matrix, labels, *margins)
        else:
            hinges = triplet_hinge(matrix, margins[0], groups), quadruplet_hinge(matrix, margins[1], groups)
        first, second = (self._mean(hinge) for hinge in hinges)
        value = first + self.quadruplet_weight * second + self.pair_weight * pair_loss
        active = (hinges[0].active + hinges[1].active) / max(1, hinges[0].terms + hinges[1].terms)
        parts = {"margin_1": margins[0], "margin_2": margins[1], "triplet": first, "quadruplet": second}
        if self.pair_metric is not None:
            parts["pair_loss"] = pair_loss
        if self.training:
            self.step += 1
        details = {name: part.detach() for name, part in parts.items()}
        return LossOutput(value, active, means[0].detach(), means[1].detach(), details)

    def _measure(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """g squared of all pairs (B, B) with zero diagonal, and the loss that trains g; 0 where g is the
        Euclidean distance.
        """
        if self.pair_metric is None:
            return squared_distances(
                unit_rows(embeddings) if self.normalise else embeddings
            ), embeddings.new_zeros(())
        logits = self.pair_metric.logits(embeddings)
        g_squared = logits.sigmoid().square()
        # The learned g of a row with itself is not zero, and would else be taken for a distance.
        return g_squared - g_squared.diagonal().diag(), self.pair_metric.classification_loss(logits, labels)

    def _margins_of(self, mean_positive: Tensor, mean_negative: Tensor) -> tuple[Tensor, Tensor]:
        """a1 and a2 for this batch (Chen 2017, equation 8)."""
        first, second = (mean_positive.new_full((), margin) for margin in self.margins)
        if not self.adaptive:
            return first, second
        gap = (mean_negative - mean_positive).clamp_min(0)
        if not self.warmup_steps:
            return gap, 0.5 * gap
        warm = self.step >= self.warmup_steps
        return torch.where(warm, gap, first), torch.where(warm, 0.5 * gap, second)

    def _mean(self, hinge: HingeSum) -> Tensor:
        return hinge.total / (
            hinge.active.clamp_min(1) if self.selection == "margin" else max(1, hinge.terms)
        )
