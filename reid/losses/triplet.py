"""The triplet family: batch-hard, batch-all and batch-semi-hard."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid import mining
from reid.distances import paired_distances, pairwise_distances
from reid.losses.output import LossOutput, checked, split_means, zero_of

__all__ = ["BatchHardLoss"]


class BatchHardLoss(nn.Module):
    """``[margin + max_p d(a, p) - min_n d(a, n)]+``, mean over the anchors that have both (Hermans, Beyer and Leibe 2017, equation 5).

    Args:
        margin: of the hinge, in units of the distance (of its square with ``squared``).
        soft_margin: ``softplus`` of the difference in place of the hinge; the margin is then not used.
        squared: squared Euclidean distances in place of Euclidean ones.
        normalise: L2-normalise the embeddings first.
    """

    def __init__(self, margin: float = 0.3, soft_margin: bool = False, squared: bool = False, normalise: bool = False) -> None:
        super().__init__()
        self.margin, self.soft_margin, self.squared, self.normalise = margin, soft_margin, squared, normalise

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError where an embedding is not finite."""
        embeddings, labels = checked(embeddings, labels)
        if self.normalise:
            embeddings = F.normalize(embeddings)
        matrix = pairwise_distances(embeddings.detach(), squared=self.squared)
        means = split_means(matrix, labels)
        triplets = mining.batch_hard(matrix, labels)
        if not len(triplets.anchor):
            return LossOutput(zero_of(embeddings), torch.zeros_like(means[0]), *means)
        # Only the chosen pairs carry a gradient; their distances are taken anew, from differences, without the cancellation of the matrix.
        anchors = embeddings[triplets.anchor]
        gap = paired_distances(anchors, embeddings[triplets.positive], squared=self.squared) - paired_distances(
            anchors, embeddings[triplets.negative], squared=self.squared
        )
        value = F.softplus(gap) if self.soft_margin else F.relu(gap + self.margin)
        active = gap.detach() > (0.0 if self.soft_margin else -self.margin)
        return LossOutput(value.mean(), active.to(gap.dtype).mean(), *means)
