"""The objectives, behind one signature: ``loss(embeddings (B, D), labels (B,)) -> LossOutput``."""

import inspect
from typing import Any

from torch import nn

from reid.errors import UsageError
from reid.losses.combined import CombinedLoss, CombinedOutput
from reid.losses.hierarchical import HierarchicalLoss
from reid.losses.output import LossOutput
from reid.losses.quadruplet import QuadrupletLoss
from reid.losses.softmax import SoftmaxLoss
from reid.losses.triplet import BatchHardLoss

__all__ = ["LOSSES", "CombinedLoss", "CombinedOutput", "LossOutput", "build_loss"]

LOSSES: dict[str, type[nn.Module]] = {
    "batch_hard": BatchHardLoss,
    "quadruplet": QuadrupletLoss,
    "hierarchical": HierarchicalLoss,
    "softmax": SoftmaxLoss,
}


def build_loss(name: str, **options: Any) -> nn.Module:
    """Build the objective ``name``; the options are the arguments of its class.

    Raises:
        UsageError: an unknown name, an unknown option, or one that is missing; the message names it and the known ones.
    """
    if name not in LOSSES:
        raise UsageError(f"objective {name!r} is unknown: take one of {', '.join(sorted(LOSSES))}")
    parameters = inspect.signature(LOSSES[name]).parameters
    known = ", ".join(parameters) or "none"
    for option in options:
        if option not in parameters:
            raise UsageError(f"objective {name} has no option {option!r}: it takes {known}")
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise UsageError(f"objective {name} needs the option {option!r}: it takes {known}")
    return LOSSES[name](**options)
