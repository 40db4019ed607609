"""What is minimised: a metric loss before the BN-neck plus classification after it (Luo et al. 2019, section
3.5).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from reid.losses import CombinedLoss, build_loss, loss_options

__all__ = ["build_objective", "features_by_term"]


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
) -> CombinedLoss:
    """The metric loss ``name`` with classification and centre terms; weight 0 leaves one out.

    Raises:
        UsageError: the name or one of ``options`` is unknown, or every weight is 0.
    """
    sizes = {"num_classes": num_classes, "embedding_dim": embedding_dim}

    def build(term: str, own: Mapping[str, Any]) -> nn.Module:
        return build_loss(
            term, **{key: value for key, value in sizes.items() if key in loss_options(term)}, **own
        )

    wanted: dict[str, tuple[float, Mapping[str, Any]]] = {
        name: (triplet_weight, options),
        "softmax": (softmax_weight, {"label_smoothing": label_smoothing}),
        "center": (center_weight, {}),
    }
    return CombinedLoss(
        {term: (weight, build(term, own)) for term, (weight, own) in wanted.items() if weight}
    )


def features_by_term(objective: CombinedLoss, features: Tensor, necked: Tensor) -> dict[str, Tensor]:
    """Which features (B, D) each term sees: classifiers and a learned metric those after the BN-neck, other
    metric losses those before it.

    A learned metric judges the directions of embeddings, and is later asked about those after the neck.
    Before it no feature is negative: two people there are far apart in direction only where they share no
    feature, which fits the people trained on and no others.
    """
    after = {
        term
        for term, loss in objective.terms.items()
        if term == "softmax" or getattr(loss, "pair_metric", None) is not None
    }
    return {term: necked if term in after else features for term in objective.terms}
