"""SimSiam: an image's one view predicts the other; no negatives, and no gradient into what is predicted."""

import torch
from torch import Tensor, nn

from reid.losses.output import LossOutput, checked, pair_means
from reid.losses.projection import SPREAD, head, nothing_learned, spread
from reid.metric.distances import full_precision, unit_rows

__all__ = ["SimSiamLoss"]


class SimSiamLoss(nn.Module):
    """``-cos(p_i, z_j)``, z_j taken as constant, mean over the ordered pairs of rows with one label: with two
    views, the paper's symmetrised loss, from 0 to -1 (Chen and He 2021, equations 1 to 4).

    z is the projection (three layers with batch normalisation), p the prediction from it (two layers; section
    3). Nothing but the constant z keeps all embeddings from becoming one: watch ``spread``.

    ``active_fraction`` is 1 as soon as there is a pair; distances are those of the normalised projections.

    Args:
        embedding_dim: D.
        projection: width of z; the paper's 2,048 with batches of 512.
        bottleneck: width of the predictor's hidden layer; the paper's is a quarter of z.
    """

    def __init__(self, embedding_dim: int, projection: int = 512, bottleneck: int = 128) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            *_layer(embedding_dim, projection),
            *_layer(projection, projection),
            nn.Linear(projection, projection, bias=False),
            nn.BatchNorm1d(projection, affine=False),
        )
        predictor = head(projection, bottleneck, projection)
        self.predictor = nn.Sequential(predictor[0], nn.BatchNorm1d(bottleneck), *predictor[1:])

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError for embeddings not finite."""
        embeddings, labels = checked(embeddings, labels)
        if len(labels) == 1:  # which has no batch statistics
            return nothing_learned(embeddings)
        positive = (labels[:, None] == labels).fill_diagonal_(False)
        with full_precision(embeddings):
            projected = self.projector(embeddings)
            target = unit_rows(projected.detach())
            cosine = unit_rows(self.predictor(projected)) @ target.T
        count = positive.sum()
        value = -torch.where(positive, cosine, 0.0).sum() / count.clamp_min(1)
        means = pair_means(target, labels)
        return LossOutput(value, (count > 0).to(value.dtype), *means, {SPREAD: spread(embeddings)})


def _layer(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()
