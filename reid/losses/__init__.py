"""The objectives, behind one signature: ``loss(embeddings (B, D), labels (B,)) -> LossOutput``."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from reid.errors import UsageError
from reid.losses import library
from reid.losses.center import CenterLoss
from reid.losses.combined import CombinedLoss, CombinedOutput
from reid.losses.contrastive import ContrastiveLoss
from reid.losses.hierarchical import HierarchicalLoss
from reid.losses.log_ratio import LogRatioLoss
from reid.losses.output import LossOutput
from reid.losses.quadruplet import QuadrupletLoss
from reid.losses.softmax import SoftmaxLoss
from reid.losses.triplet import (
    BatchAllLoss,
    BatchHardLoss,
    BatchSemiHardLoss,
    DistanceWeightedLoss,
    EasyPositiveLoss,
)

__all__ = ["LOSSES", "CombinedLoss", "CombinedOutput", "LossOutput", "build_loss", "loss_options"]

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "batch_hard": BatchHardLoss,
    "batch_all": BatchAllLoss,
    "batch_semi_hard": BatchSemiHardLoss,
    "easy_positive": EasyPositiveLoss,
    "distance_weighted": DistanceWeightedLoss,
    "quadruplet": QuadrupletLoss,
    "hierarchical": HierarchicalLoss,
    "contrastive": ContrastiveLoss,
    "center": CenterLoss,
    "softmax": SoftmaxLoss,
    "log_ratio": LogRatioLoss,
    "arcface": library.arcface,
    "cosface": library.cosface,
    "sphereface": library.sphereface,
    "proxy_nca": library.proxy_nca,
    "proxy_anchor": library.proxy_anchor,
    "multi_similarity": library.multi_similarity,
    "circle": library.circle,
}


def loss_options(name: str) -> tuple[str, ...]:
    """Names of the options that :func:`build_loss` takes for ``name``, so that a caller can offer
    ``num_classes`` to those that want it.

    Raises:
        UsageError: an unknown name.
    """
    if name not in LOSSES:
        raise UsageError(f"objective {name!r} is unknown: take one of {', '.join(sorted(LOSSES))}")
    return tuple(inspect.signature(LOSSES[name]).parameters)


def build_loss(name: str, **options: Any) -> nn.Module:
    """Build the objective ``name``; the options are the arguments of its class.

    Raises:
        UsageError: an unknown name, an unknown option, or one that is missing; the message names it and the
            known ones.
    """
    known = loss_options(name)
    listed = ", ".join(known)
    for option in options:
        if option not in known:
            raise UsageError(f"objective {name} has no option {option!r}: it takes {listed}")
    for option, parameter in inspect.signature(LOSSES[name]).parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise UsageError(f"objective {name} needs the option {option!r}: it takes {listed}")
    return LOSSES[name](**options)
