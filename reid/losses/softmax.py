"""Classification of the training identities: cross-entropy on a bias-free linear layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid.losses.output import LossOutput, checked, checked_classes, pair_means
from reid.metric.distances import full_precision
from reid.options import Share

__all__ = ["SoftmaxLoss"]


class SoftmaxLoss(nn.Module):
    """Cross-entropy of a bias-free linear classifier, with label smoothing; the embedding is the layer before
    it.

    ``active_fraction`` is the share of the batch that is not classified right.

    Args:
        num_classes: training identities; labels are 0..num_classes-1.
        embedding_dim: D.
        label_smoothing: share of the target spread evenly over all classes.
    """

    def __init__(self, num_classes: int, embedding_dim: int, label_smoothing: Share = 0.0) -> None:
        super().__init__()
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.classifier = nn.Linear(embedding_dim, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and class indices (B,). Raises ReidError for embeddings not finite and
        labels out of range.
        """
        embeddings, labels = checked(embeddings, labels)
        labels = checked_classes(labels, self.num_classes)
        with full_precision(embeddings):
            logits = F.linear(embeddings, self.classifier.weight.to(embeddings.dtype))
            value = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        wrong = (logits.detach().argmax(1) != labels).to(torch.float32).mean()
        return LossOutput(value, wrong, *pair_means(embeddings, labels))
