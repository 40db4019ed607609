"""Log-ratio loss: distances of the embeddings in the proportions of the distances of continuous labels."""

from typing import Literal

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.losses.output import LossOutput, checked, mean_over
from reid.metric.distances import pairwise_distances, squared_distances

__all__ = ["LogRatioLoss"]


class LogRatioLoss(nn.Module):
    """``(log D(a,i) / D(a,j) - log Dy(a,i) / Dy(a,j))^2``, mean over the triplets (Kim, Seo, Laptev, Cho and
    Kwak 2019, equation 4).

    D is the squared Euclidean distance of the embeddings, which are not normalised; Dy the Euclidean distance
    of the labels. No margin. A label at distance zero from the anchor's has no ratio and takes no part. Every
    triplet pushes, so ``active_fraction`` is 1 as soon as there is one; ``mean_positive`` and
    ``mean_negative`` are the mean D of the pairs nearer and farther by label than the median pair.

    Args:
        anchors: ``all`` rows of the batch, or the ``first`` alone, as a dense-triplet batch is laid out.
        floor: below this D counts as constant, so that equal embeddings have a finite value and no gradient.
        squared_labels: Dy squared as well.
    """

    continuous = True  # takes label vectors, not identities

    def __init__(
        self, anchors: Literal["all", "first"] = "all", floor: float = 1e-6, squared_labels: bool = False
    ) -> None:
        super().__init__()
        if anchors not in ("all", "first"):
            raise UsageError(f"anchors of the log-ratio objective is {anchors!r}: take all or first")
        self.anchors = anchors
        self.floor = floor
        self.squared_labels = squared_labels

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and continuous labels (B,) or (B, V). Raises ReidError where an
        embedding is not finite.
        """
        embeddings, labels = checked(embeddings, labels)
        count = 1 if self.anchors == "first" else len(embeddings)
        targets = labels.to(embeddings.dtype).reshape(len(labels), -1)
        wanted = pairwise_distances(targets, squared=self.squared_labels)[:count]
        matrix = squared_distances(embeddings)[:count]
        usable = (wanted > 0).fill_diagonal_(False)
        error = matrix.clamp_min(self.floor).log() - torch.where(usable, wanted, 1.0).log()
        # Over the pairs i < j of n numbers, the squared differences sum to n times the squared deviations
        # from their mean.
        number = usable.sum(1)
        centred = (error - mean_over_rows(error, usable)[:, None]) * usable
        triplets = (number * (number - 1)).sum() / 2
        value = (number * centred.square().sum(1)).sum() / triplets.clamp_min(1)
        return LossOutput(
            value, (triplets > 0).to(matrix.dtype), *self._halves(matrix.detach(), wanted, usable)
        )

    @torch.no_grad()
    def _halves(self, matrix: Tensor, wanted: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        if not usable.any():
            nothing = matrix.new_zeros(())
            return nothing, nothing
        middle = wanted[usable].median()
        return mean_over(matrix, usable & (wanted <= middle)), mean_over(matrix, usable & (wanted > middle))


def mean_over_rows(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of each row of ``values`` (A, B) where ``mask``; 0 where nothing is chosen."""
    return (values * mask).sum(1) / mask.sum(1).clamp_min(1)
