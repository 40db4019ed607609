"""SphereFace's margin, brought in step by step; apart, for its base class is of pytorch-metric-learning."""

import torch
from pytorch_metric_learning import losses
from torch import Tensor

__all__ = ["AnnealedSphereFace"]


class AnnealedSphereFace(losses.SphereFaceLoss):
    """SphereFace that goes over from plain classification: of a person's own class the cosine counts lambda
    times beside the margin's psi, ``(lambda cos + psi) / (1 + lambda)``.

    lambda = max(lambda_min, base * (1 + gamma * step) ** -power), in training, where each call is a step.

    Args:
        num_classes, embedding_dim, margin, scale: see :func:`reid.losses.library.sphereface`.
        annealing: base, gamma, power and lambda_min.
    """

    step: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        margin: int,
        scale: float,
        annealing: tuple[float, float, float, float],
    ) -> None:
        super().__init__(num_classes, embedding_dim, margin=margin, scale=scale)
        self.annealing = annealing
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def modify_cosine_of_target_classes(self, cosine_of_target_classes: Tensor) -> Tensor:
        """Called by the library with the cosines (B,) of the images to their own classes."""
        if self.training:
            self.step += 1
        base, gamma, power, least = self.annealing
        weight = (base * (1 + gamma * self.step.to(torch.float32)) ** -power).clamp_min(least)
        weight = weight.to(cosine_of_target_classes.dtype)
        psi = super().modify_cosine_of_target_classes(cosine_of_target_classes)
        mixed: Tensor = (weight * cosine_of_target_classes + psi) / (1 + weight)
        return mixed
