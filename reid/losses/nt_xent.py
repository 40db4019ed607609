"""NT-Xent: an image's other view is found among all views of the batch; with people as labels, SupCon."""

import torch
from torch import Tensor, nn

from reid.losses.output import LossOutput, checked, mean_over, pair_means
from reid.losses.projection import SPREAD, head, spread
from reid.metric.distances import full_precision, unit_rows
from reid.options import AboveZero

__all__ = ["NTXentLoss"]


class NTXentLoss(nn.Module):
    """``-log exp(s_ij / t) / sum over k != i of exp(s_ik / t)``, s the cosine, mean over the positive pairs
    (SimCLR; Chen, Kornblith, Norouzi and Hinton 2020, equation 1).

    Two rows of one label are a positive pair, all other rows are negatives. With two views of each image this
    is the paper's loss. With people as labels an anchor has several positives, of which the mean counts:
    SupCon (Khosla et al. 2020, equation 2). A row without a positive is a negative alone.

    ``active_fraction`` is the share of the anchors whose nearest row is of another label; distances are those
    of the normalised projections.

    Args:
        embedding_dim: D.
        temperature: t.
        projection: width of the projection that is compared; None compares the embeddings themselves.
        hidden: width of the layer before it; None: D.
    """

    def __init__(
        self,
        embedding_dim: int,
        temperature: AboveZero = 0.1,
        projection: int | None = 128,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.projector = nn.Identity() if projection is None else head(embedding_dim, hidden, projection)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError for embeddings not finite."""
        embeddings, labels = checked(embeddings, labels)
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = labels[:, None] == labels
        positive = same & ~own
        with full_precision(embeddings):
            unit = unit_rows(self.projector(embeddings))
            similarity = unit @ unit.T / self.temperature
            # The lowest finite number, not -inf: a batch of one row would have no logarithm.
            others = similarity.masked_fill(own, torch.finfo(similarity.dtype).min)
            share = torch.where(positive, similarity - others.logsumexp(1, keepdim=True), 0.0)
        count = positive.sum(1)
        value = mean_over(-share.sum(1) / count.clamp_min(1), count > 0)
        wrong = ~same.gather(1, others.detach().argmax(1, keepdim=True)).flatten()
        active = mean_over(wrong.to(unit.dtype), count > 0)
        means = pair_means(unit.detach(), labels)
        return LossOutput(value, active, *means, {SPREAD: spread(embeddings)})
