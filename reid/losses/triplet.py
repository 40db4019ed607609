"""The triplet family: which triplets of the batch count, and what they cost."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid.errors import UsageError
from reid.losses.hinge_sums import triplet_hinge_and_grad, triplet_softplus_and_grad
from reid.losses.output import LossOutput, checked, split_means, zero_of
from reid.metric import mining
from reid.metric.distances import function_of_distances, paired_distances, pairwise_distances, unit_rows
from reid.metric.miners import build_miner

__all__ = [
    "BatchAllLoss",
    "BatchHardLoss",
    "BatchSemiHardLoss",
    "DistanceWeightedLoss",
    "EasyPositiveLoss",
    "MarginLoss",
    "TripletLoss",
]


class MarginLoss(nn.Module):
    """The options that the losses of this family share: margin, soft margin, squared, normalise."""

    def __init__(
        self, margin: float = 0.3, soft_margin: bool = False, squared: bool = False, normalise: bool = False
    ) -> None:
        super().__init__()
        self.margin = margin
        self.soft_margin = soft_margin
        self.squared = squared
        self.normalise = normalise

    def prepared(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Checked and, where wanted, normalised embeddings, and the labels."""
        embeddings, labels = checked(embeddings, labels)
        return (unit_rows(embeddings) if self.normalise else embeddings), labels

    def choose(self, seen: Tensor, labels: Tensor, dim: int) -> mining.Triplets:
        """Which triplets of a batch count, by its distances (B, B) without gradient, of embeddings of ``dim``
        numbers.
        """
        raise NotImplementedError

    def reduced(self, gap: Tensor, embeddings: Tensor, means: tuple[Tensor, Tensor]) -> LossOutput:
        """Output from the (T,) differences of the chosen triplets, which may be none."""
        if not len(gap):
            return LossOutput(zero_of(embeddings), torch.zeros_like(means[0]), *means)
        value = F.softplus(gap) if self.soft_margin else F.relu(gap + self.margin)
        active = gap.detach() > (0.0 if self.soft_margin else -self.margin)
        return LossOutput(value.mean(), active.to(gap.dtype).mean(), *means)


class BatchHardLoss(MarginLoss):
    """``[margin + max_p d(a, p) - min_n d(a, n)]+``, mean over the anchors that have both (Hermans, Beyer and
    Leibe 2017, equation 5).

    Args:
        margin: of the hinge, in units of the distance (of its square with ``squared``).
        soft_margin: ``softplus`` of the difference in place of the hinge; the margin is then not used, and a
            triplet counts as active where the positive is farther than the negative.
        squared: squared Euclidean distances in place of Euclidean ones.
        normalise: L2-normalise the embeddings first.
    """

    def choose(self, seen: Tensor, labels: Tensor, dim: int) -> mining.Triplets:
        """The hardest of every anchor."""
        return mining.batch_hard(seen, labels)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError where an embedding is not finite."""
        embeddings, labels = self.prepared(embeddings, labels)
        matrix = pairwise_distances(embeddings.detach(), squared=self.squared)
        triplets = self.choose(matrix, labels, embeddings.shape[1])
        # Only the chosen pairs carry a gradient; their distances are taken anew, from differences, without
        # the cancellation of the matrix. Indexing adds its gradients up by atomic additions, in another order
        # each time; index_select in one order.
        anchors = embeddings.index_select(0, triplets.anchor)
        reach = paired_distances(anchors, embeddings.index_select(0, triplets.positive), squared=self.squared)
        gap = reach - paired_distances(
            anchors, embeddings.index_select(0, triplets.negative), squared=self.squared
        )
        return self.reduced(gap, embeddings, _means(matrix, labels))


class BatchAllLoss(MarginLoss):
    """``[margin + d(a, p) - d(a, n)]+`` over all triplets of the batch (Hermans 2017, equation 6), in B^2
    memory.

    Args:
        margin, soft_margin, squared, normalise: as of :class:`BatchHardLoss`.
        average: over the triplets that still cost something (``active``, what the paper calls non-zero), or
            over ``all``. The soft margin always costs something.
    """

    def __init__(
        self,
        margin: float = 0.3,
        soft_margin: bool = False,
        squared: bool = False,
        normalise: bool = False,
        average: Literal["active", "all"] = "active",
    ) -> None:
        super().__init__(margin, soft_margin, squared, normalise)
        if average not in ("active", "all"):
            raise UsageError(f"average of the batch_all objective is {average!r}: take active or all")
        self.average = average

    def choose(self, seen: Tensor, labels: Tensor, dim: int) -> mining.Triplets:
        """All, as lists of row numbers in memory of B^3; the loss itself makes do without."""
        return mining.all_triplets(labels)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError where an embedding is not finite."""
        embeddings, labels = self.prepared(embeddings, labels)
        groups = mining.Groups.of(labels)
        everything = max(1, groups.triplets)

        def mean_hinge(matrix: Tensor) -> tuple[Tensor, ...]:
            if self.soft_margin:
                total, grad, active = triplet_softplus_and_grad(matrix, groups)
            else:
                total, grad, active = triplet_hinge_and_grad(matrix, self.margin, groups)
            of_active = self.average == "active" and not self.soft_margin
            number = active.clamp_min(1) if of_active else everything
            return total / number, grad.div_(number), active / everything, *split_means(matrix, groups)

        value, active, positive, negative = function_of_distances(
            embeddings, mean_hinge, squared=self.squared
        )
        return LossOutput(value, active, positive, negative)


class TripletLoss(MarginLoss):
    """``[margin + d(a, p) - d(a, n)]+``, mean over the triplets that a miner chooses from the batch (Schroff
    2015, equation 3).

    Args:
        miner: a name of ``reid.metric.miners.MINERS``.
        miner_options: of the miner.
        margin, soft_margin, squared, normalise: as of :class:`BatchHardLoss`.

    Raises:
        UsageError: the miner or one of its options is unknown, or it needs normalised embeddings.
    """

    def __init__(
        self,
        miner: str = "batch_hard",
        miner_options: Mapping[str, Any] = MappingProxyType({}),
        margin: float = 0.3,
        soft_margin: bool = False,
        squared: bool = False,
        normalise: bool = False,
    ) -> None:
        super().__init__(margin, soft_margin, squared, normalise)
        self.miner, self.mine = miner, build_miner(miner, miner_options)
        if self._on_the_sphere and not normalise:
            raise UsageError(f"miner {miner} works on the unit sphere: set normalise: true")

    @property
    def _on_the_sphere(self) -> bool:
        return self.miner == "distance_weighted"

    def choose(self, seen: Tensor, labels: Tensor, dim: int) -> mining.Triplets:
        """As the miner does."""
        if self.squared and self._on_the_sphere:  # its density is one of plain distances
            seen = seen.sqrt()
        return self.mine(seen, labels, dim)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError where an embedding is not finite."""
        embeddings, labels = self.prepared(embeddings, labels)
        matrix = pairwise_distances(embeddings, squared=self.squared)
        anchor, positive, negative = self.choose(matrix.detach(), labels, embeddings.shape[1])
        return self.reduced(
            matrix[anchor, positive] - matrix[anchor, negative], embeddings, _means(matrix, labels)
        )


class BatchSemiHardLoss(TripletLoss):
    """For every positive pair the nearest negative beyond the positive (Schroff 2015), mean over the pairs
    that have one.

    Args:
        margin, soft_margin, squared, normalise: as of :class:`BatchHardLoss`.
    """

    def __init__(
        self, margin: float = 0.3, soft_margin: bool = False, squared: bool = False, normalise: bool = False
    ) -> None:
        super().__init__("semi_hard", {}, margin, soft_margin, squared, normalise)


class EasyPositiveLoss(TripletLoss):
    """Nearest positive and nearest negative of every anchor (Xuan 2020): a class may stay spread out.

    Args:
        margin, soft_margin, squared, normalise: as of :class:`BatchHardLoss`.
    """

    def __init__(
        self, margin: float = 0.3, soft_margin: bool = False, squared: bool = False, normalise: bool = False
    ) -> None:
        super().__init__("easy_positive", {}, margin, soft_margin, squared, normalise)


class DistanceWeightedLoss(TripletLoss):
    """For every positive pair a negative drawn evenly over its distance (Wu 2017), on the unit sphere.

    Args:
        margin, soft_margin, squared: as of :class:`BatchHardLoss`.
    """

    def __init__(self, margin: float = 0.2, soft_margin: bool = False, squared: bool = False) -> None:
        super().__init__("distance_weighted", {}, margin, soft_margin, squared, normalise=True)


def _means(matrix: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return split_means(matrix.detach(), mining.Groups.of(labels))
