"""Objectives that pytorch-metric-learning implements well, behind the signature of the rest.

The library is imported by the objectives that are of it: with scipy.stats, which it imports, it takes a
second of every process that trains with another.
"""

from typing import Any

import torch
from torch import Tensor, nn

from reid.losses.output import LossOutput, checked, checked_classes, pair_means, zero_of
from reid.metric.distances import full_precision

__all__ = [
    "PairLoss",
    "ProxyLoss",
    "arcface",
    "circle",
    "cosface",
    "multi_similarity",
    "proxy_anchor",
    "proxy_nca",
    "sphereface",
]


class ProxyLoss(nn.Module):
    """An objective with a weight vector or proxy for every class; ``active_fraction`` is the share of the
    batch not classified right.
    """

    def __init__(self, inner: nn.Module, num_classes: int, nearest_is_least: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.num_classes = num_classes
        self.nearest_is_least = nearest_is_least

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and class indices (B,). Raises ReidError for embeddings not finite and
        labels out of range.
        """
        embeddings, labels = checked(embeddings, labels)
        labels = checked_classes(labels, self.num_classes)
        with full_precision(embeddings):
            value = self.inner(embeddings, labels)
            with torch.no_grad():
                logits = self.inner.get_logits(embeddings)  # type: ignore[operator]
        chosen = logits.argmin(1) if self.nearest_is_least else logits.argmax(1)
        return LossOutput(value, (chosen != labels).to(torch.float32).mean(), *pair_means(embeddings, labels))


class PairLoss(nn.Module):
    """An objective with one cost for every anchor, from its pairs in the batch; ``active_fraction`` is the
    share that is not zero.
    """

    def __init__(self, inner: nn.Module, average_active: bool) -> None:
        super().__init__()
        self.inner, self.average_active = inner, average_active

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError where an embedding is not finite."""
        embeddings, labels = checked(embeddings, labels)
        with full_precision(embeddings):
            costs: Any = self.inner(embeddings, labels)["loss"]["losses"]
        means = pair_means(embeddings, labels)
        if not isinstance(costs, Tensor):  # the library answers a batch without pairs with a plain 0
            return LossOutput(zero_of(embeddings), torch.zeros_like(means[0]), *means)
        active = (costs.detach() > 0).sum()
        value = costs.sum() / (active.clamp_min(1) if self.average_active else len(costs))
        return LossOutput(value + zero_of(embeddings), active / len(costs), *means)


def arcface(num_classes: int, embedding_dim: int, margin_deg: float = 28.6, scale: float = 64.0) -> ProxyLoss:
    """Additive angular margin (Deng 2019); the margin in degrees."""
    from pytorch_metric_learning import losses

    return ProxyLoss(
        losses.ArcFaceLoss(num_classes, embedding_dim, margin=margin_deg, scale=scale), num_classes
    )


def cosface(num_classes: int, embedding_dim: int, margin: float = 0.35, scale: float = 64.0) -> ProxyLoss:
    """Additive cosine margin (Wang 2018)."""
    from pytorch_metric_learning import losses

    return ProxyLoss(losses.CosFaceLoss(num_classes, embedding_dim, margin=margin, scale=scale), num_classes)


def sphereface(
    num_classes: int,
    embedding_dim: int,
    margin: int = 4,
    scale: float = 1.0,
    annealed: bool = False,
    base: float = 1000.0,
    gamma: float = 0.12,
    power: float = 1.0,
    lambda_min: float = 5.0,
) -> ProxyLoss:
    """Multiplicative angular margin (Liu 2017); the margin is a whole number.

    ``annealed`` begins with plain classification and goes over to the margin (appendix G), by the numbers of
    the authors' training: at once, the margin is flat where a training begins, and nothing is learnt.
    """
    from pytorch_metric_learning import losses

    from reid.losses.annealed import AnnealedSphereFace

    inner = (
        AnnealedSphereFace(num_classes, embedding_dim, margin, scale, (base, gamma, power, lambda_min))
        if annealed
        else losses.SphereFaceLoss(num_classes, embedding_dim, margin=margin, scale=scale)
    )
    return ProxyLoss(inner, num_classes)


def proxy_nca(num_classes: int, embedding_dim: int, scale: float = 8.0) -> ProxyLoss:
    """One proxy a class, softmax over their squared distances times ``scale`` (Movshovitz-Attias 2017)."""
    from pytorch_metric_learning import losses

    return ProxyLoss(
        losses.ProxyNCALoss(num_classes, embedding_dim, softmax_scale=scale),
        num_classes,
        nearest_is_least=True,
    )


def proxy_anchor(num_classes: int, embedding_dim: int, margin: float = 0.1, alpha: float = 32.0) -> ProxyLoss:
    """Every proxy an anchor against the whole batch (Kim 2020)."""
    from pytorch_metric_learning import losses

    return ProxyLoss(
        losses.ProxyAnchorLoss(num_classes, embedding_dim, margin=margin, alpha=alpha), num_classes
    )


def multi_similarity(alpha: float = 2.0, beta: float = 50.0, base: float = 0.5) -> PairLoss:
    """General pair weighting (Wang 2019), mean over all anchors."""
    from pytorch_metric_learning import losses
    from pytorch_metric_learning.reducers import DoNothingReducer

    return PairLoss(
        losses.MultiSimilarityLoss(alpha=alpha, beta=beta, base=base, reducer=DoNothingReducer()),
        average_active=False,
    )


def circle(margin: float = 0.25, gamma: float = 128.0) -> PairLoss:
    """Circle loss on pairs (Sun 2020) with the paper's values for person re-identification, mean over the
    anchors that cost something.
    """
    from pytorch_metric_learning import losses
    from pytorch_metric_learning.reducers import DoNothingReducer

    return PairLoss(losses.CircleLoss(m=margin, gamma=gamma, reducer=DoNothingReducer()), average_active=True)
