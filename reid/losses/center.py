"""Centre loss: classification with the features of a class drawn to their centre."""

import torch
from torch import Tensor, nn

from reid.losses.output import LossOutput, checked, checked_classes, pair_means
from reid.losses.softmax import SoftmaxLoss
from reid.options import Share

__all__ = ["CenterLoss"]


class CenterLoss(nn.Module):
    """``CE + lambda / 2 mean |x_i - c_(y_i)|^2`` (Wen, Zhang, Li and Qiao 2016, equations 2 to 5).

    The centres are no parameters of the optimiser. After each training batch they move by ``center_lr`` times
    the paper's own step, the mean difference with one added to the count, so neither the learning rate nor
    lambda touches their speed, and lambda = 0 is plain classification with centres that still follow.

    Args:
        num_classes: training identities; labels are 0..num_classes-1.
        embedding_dim: D.
        center_weight: lambda.
        center_lr: the centres' own learning rate, alpha of the paper, 0..1.
        label_smoothing: of the classification.
        classify: with the cross-entropy; False leaves the centre term, for use beside another classifier.
    """

    centers: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        center_weight: float = 0.003,
        center_lr: Share = 0.5,
        label_smoothing: Share = 0.0,
        classify: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.center_weight = center_weight
        self.center_lr = center_lr
        self.softmax = SoftmaxLoss(num_classes, embedding_dim, label_smoothing) if classify else None
        self.register_buffer("centers", torch.zeros(num_classes, embedding_dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and class indices (B,). Raises ReidError for embeddings not finite and
        labels out of range.
        """
        embeddings, labels = checked(embeddings, labels)
        labels = checked_classes(labels, self.num_classes)
        difference = embeddings - self.centers.to(embeddings.dtype)[labels]
        spread = 0.5 * difference.square().sum(1).mean()
        extras = {"center": spread.detach()}
        value = self.center_weight * spread
        if self.softmax is None:
            active, means = torch.ones_like(spread.detach()), pair_means(embeddings, labels)
        else:
            classified = self.softmax(embeddings, labels)
            value = value + classified.value
            active, means = classified.active_fraction, (classified.mean_positive, classified.mean_negative)
            extras["cross_entropy"] = classified.value.detach()
        if self.training:
            self._move(difference.detach(), labels)
        return LossOutput(value, active, *means, extras)

    @torch.no_grad()
    def _move(self, difference: Tensor, labels: Tensor) -> None:
        """``c_j += center_lr sum (x_i - c_j) / (1 + n_j)`` over the n_j images of class j in the batch."""
        difference = difference.to(self.centers.dtype)
        count = torch.bincount(labels, minlength=self.num_classes).to(difference.dtype)
        total = torch.zeros_like(self.centers).index_add_(0, labels, difference)
        self.centers += self.center_lr * total / (1 + count[:, None])
