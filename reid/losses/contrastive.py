"""Contrastive loss over the pairs of a batch."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid.errors import ReidError, UsageError
from reid.losses.output import LossOutput, checked, split_means
from reid.metric.distances import pairwise_distances, unit_rows
from reid.metric.mining import Groups

__all__ = ["ContrastiveLoss"]


class ContrastiveLoss(nn.Module):
    """Pulls equal pairs together and pushes different ones beyond the margin (Hadsell, Chopra and LeCun 2006,
    equation 4).

    With d the Euclidean distance, an equal and a different pair cost, by form: ``distance`` d and ``[margin -
    d]+``; ``squared`` d^2 and ``[margin - d^2]+``; ``hadsell`` d^2 / 2 and ``[margin - d]+^2 / 2``. The value
    is the mean over equal pairs plus the mean over different pairs.

    Args:
        margin: in the units of the form.
        form: see above.
        pairs: ``all`` of the batch, or those that the sampler ``pairs`` has ``drawn``: row i with row
            B / 2 + i.
        average: over the pairs that still cost something (``active``), or over all (``all``).
        normalise: L2-normalise the embeddings first.
    """

    def __init__(
        self,
        margin: float = 1.0,
        form: Literal["distance", "squared", "hadsell"] = "distance",
        average: Literal["active", "all"] = "active",
        normalise: bool = False,
        pairs: Literal["all", "drawn"] = "all",
    ) -> None:
        super().__init__()
        if form not in ("distance", "squared", "hadsell"):
            raise UsageError(
                f"form of the contrastive objective is {form!r}: take distance, squared or hadsell"
            )
        if average not in ("active", "all"):
            raise UsageError(f"average of the contrastive objective is {average!r}: take active or all")
        if pairs not in ("all", "drawn"):
            raise UsageError(f"pairs of the contrastive objective is {pairs!r}: take all or drawn")
        self.margin = margin
        self.form = form
        self.average = average
        self.normalise = normalise
        self.pairs = pairs

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError where an embedding is not finite."""
        embeddings, labels = checked(embeddings, labels)
        matrix = pairwise_distances(
            unit_rows(embeddings) if self.normalise else embeddings, squared=self.form == "squared"
        )
        groups = Groups.of(labels)
        same = groups.same(matrix.dtype)
        equal, different = same.clone().fill_diagonal_(0), 1 - same
        pairs = len(labels) * (len(labels) - 1)
        if self.pairs == "drawn":
            drawn = _drawn_pairs(matrix)
            equal = equal * drawn
            different = different * drawn
            pairs = len(labels) // 2
        short = F.relu(self.margin - matrix)
        pull, push = (
            (0.5 * matrix.square(), 0.5 * short.square()) if self.form == "hadsell" else (matrix, short)
        )
        value = self._mean(pull, equal) + self._mean(push, different)
        active = (matrix.detach() > 0).mul(equal).sum() + (short.detach() > 0).mul(different).sum()
        return LossOutput(value, active / max(1, pairs), *split_means(matrix.detach(), groups))

    def _mean(self, cost: Tensor, mask: Tensor) -> Tensor:
        counted = (cost.detach() > 0).mul(mask) if self.average == "active" else mask
        return (cost * mask).sum() / counted.sum().clamp_min(1)


def _drawn_pairs(matrix: Tensor) -> Tensor:
    """(B, B): 1 at row i and column B / 2 + i, each pair once. Raises ReidError where B is odd."""
    half, rest = divmod(len(matrix), 2)
    if rest:
        raise ReidError("the batch is not laid out in pairs: pairs: drawn goes with the sampler pairs")
    mask = torch.zeros_like(matrix)
    mask.diagonal(half)[:half] = 1
    return mask
