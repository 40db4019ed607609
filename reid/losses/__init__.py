"""The objectives, behind one signature: ``loss(embeddings (B, D), labels (B,)) -> LossOutput``."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from reid.losses import library
from reid.losses.bier import BierLoss
from reid.losses.center import CenterLoss
from reid.losses.combined import CombinedLoss, CombinedOutput
from reid.losses.contrastive import ContrastiveLoss
from reid.losses.cross_batch_memory import CrossBatchMemoryLoss
from reid.losses.hierarchical import HierarchicalLoss
from reid.losses.log_ratio import LogRatioLoss
from reid.losses.moco import MoCoLoss
from reid.losses.nt_xent import NTXentLoss
from reid.losses.output import LossOutput
from reid.losses.quadruplet import QuadrupletLoss
from reid.losses.simsiam import SimSiamLoss
from reid.losses.softmax import SoftmaxLoss
from reid.losses.triplet import (
    BatchAllLoss,
    BatchHardLoss,
    BatchSemiHardLoss,
    DistanceWeightedLoss,
    EasyPositiveLoss,
    TripletLoss,
)
from reid.options import fitting, one_of

__all__ = ["LOSSES", "CombinedLoss", "CombinedOutput", "LossOutput", "build_loss", "loss_options"]

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "triplet": TripletLoss,
    "batch_hard": BatchHardLoss,
    "batch_all": BatchAllLoss,
    "batch_semi_hard": BatchSemiHardLoss,
    "easy_positive": EasyPositiveLoss,
    "distance_weighted": DistanceWeightedLoss,
    "quadruplet": QuadrupletLoss,
    "hierarchical": HierarchicalLoss,
    "contrastive": ContrastiveLoss,
    "cross_batch_memory": CrossBatchMemoryLoss,
    "bier": BierLoss,
    "center": CenterLoss,
    "softmax": SoftmaxLoss,
    "log_ratio": LogRatioLoss,
    "nt_xent": NTXentLoss,
    "moco": MoCoLoss,
    "simsiam": SimSiamLoss,
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
    return tuple(inspect.signature(one_of(LOSSES, name, "loss")).parameters)


def build_loss(name: str, **options: Any) -> nn.Module:
    """Build the loss ``name``; the options are the arguments of its class.

    >>> import torch
    >>> loss = build_loss("batch_hard", margin=0.3)
    >>> embeddings = torch.tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [3.0, 1.0]])
    >>> output = loss(embeddings, torch.tensor([7, 7, 8, 8]))
    >>> float(output.value), float(output.active_fraction), float(output.mean_positive)
    (0.0, 0.0, 1.0)

    Raises:
        UsageError: an unknown name, an option that is unknown, missing, or of another type; the message names
            it and the known ones.
    """
    make = one_of(LOSSES, name, "loss")
    built: nn.Module = make(**fitting(make, options, f"loss {name}"))
    return built
