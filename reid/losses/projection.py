"""What the self-supervised losses share: the heads that they alone use, and the sign of a collapse."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from reid.losses.output import LossOutput, zero_of
from reid.metric.distances import unit_rows

__all__ = ["COLLAPSED_BELOW", "SPREAD", "collapse", "head", "nothing_learned", "spread"]

SPREAD = "spread"
"""Under this name a loss reports :func:`spread` among its extras."""

COLLAPSED_BELOW = 0.05
"""A spread this small means that all images have nearly one embedding. MobileNetV2 has about 0.5 with random
weights, 0.8 with ImageNet's.
"""


def head(inputs: int, hidden: int | None, outputs: int) -> nn.Sequential:
    """Linear, ReLU, linear (Chen et al. 2020, section 2.1); ``hidden`` None: as wide as its input."""
    width = inputs if hidden is None else hidden
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))


def spread(embeddings: Tensor) -> Tensor:
    """How far embeddings (B, D) lie apart in direction: the standard deviation of each coordinate of the unit
    vectors, their mean times sqrt(D). Near 1 where they are all around the sphere, 0 where they are one (Chen
    and He 2021, section 4.1).

    Of the embeddings, not of a projection as in the paper: batch normalisation in the head blows up what is
    left of a collapse.
    """
    deviation: Tensor = unit_rows(embeddings.detach()).std(0, unbiased=False).mean()
    return deviation * embeddings.shape[1] ** 0.5


def nothing_learned(embeddings: Tensor) -> LossOutput:
    """Of a batch without a pair: zeros, connected to the graph."""
    value = zero_of(embeddings)
    zero = value.detach()
    return LossOutput(value, zero, zero, zero, {SPREAD: zero})


def collapse(figures: Mapping[str, Any]) -> str | None:
    """A line where the figures of an epoch, by names such as ``simsiam.spread``, tell of a collapse; else
    None.
    """
    for name, value in figures.items():
        if name.endswith(f".{SPREAD}") and value < COLLAPSED_BELOW:
            return (
                f"collapsed, all images have nearly one embedding ({name} {value:.3f}, near 1 is good): "
                "lower learning_rate, take a larger batch, or method simclr"
            )
    return None
