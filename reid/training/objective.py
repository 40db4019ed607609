"""What is minimised: a metric loss on the features before the BN-neck plus classification after it (Luo et al. 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reid.losses import LossOutput, build_loss

__all__ = ["Objective", "ObjectiveOutput", "build_objective"]


@dataclass(frozen=True)
class ObjectiveOutput:
    """The weighted sum, and the output of each term by name."""

    value: Tensor
    terms: Mapping[str, LossOutput]


class Objective(nn.Module):
    """Weighted terms; ``after_neck`` names those that see the features after the BN-neck."""

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float], after_neck: frozenset[str]) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(dict(terms))
        self.weights = dict(weights)
        self.after_neck = after_neck

    def forward(self, features: Tensor, necked: Tensor, labels: Tensor) -> ObjectiveOutput:
        """Evaluate all terms.

        Args:
            features: (B, D) before the BN-neck.
            necked: (B, D) after it.
            labels: (B,) int64 class indices.
        """
        outputs = {name: term(necked if name in self.after_neck else features, labels) for name, term in self.terms.items()}
        value = torch.stack([self.weights[name] * output.value for name, output in outputs.items()]).sum()
        return ObjectiveOutput(value, outputs)


def build_objective(
    name: str,
    *,
    num_classes: int,
    embedding_dim: int,
    triplet_weight: float,
    softmax_weight: float,
    center_weight: float,
    label_smoothing: float,
    options: Mapping[str, Any],
) -> Objective:
    """The metric loss ``name`` (see :func:`reid.losses.build_loss`) with classification and centre terms; weight 0 leaves one out."""
    terms: dict[str, nn.Module] = {}
    weights: dict[str, float] = {}
    own = dict(options)
    if name == "quadruplet" and own.get("metric", "learned") == "learned":
        own["embedding_dim"] = embedding_dim
    if triplet_weight:
        terms[name], weights[name] = build_loss(name, **own), triplet_weight
    if softmax_weight:
        terms["softmax"] = build_loss("softmax", num_classes=num_classes, embedding_dim=embedding_dim, label_smoothing=label_smoothing)
        weights["softmax"] = softmax_weight
    if center_weight:
        terms["center"], weights["center"] = build_loss("center", num_classes=num_classes, embedding_dim=embedding_dim), center_weight
    return Objective(terms, weights, frozenset({"softmax"}))
