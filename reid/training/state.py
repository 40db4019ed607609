"""What a training changes from step to step, as one object: the checkpoint is this and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reid.config import TrainParams
from reid.losses import CombinedLoss
from reid.models.averaging import AveragedWeights
from reid.models.depth import blocks_of
from reid.models.embedder import EmbeddingModel
from reid.training.schedule import SCHEDULES

__all__ = ["TrainingState"]


@dataclass
class TrainingState:
    """The network, the losses' own parameters, the averaged weights, the optimiser, and how far they are.

    :mod:`reid.training.checkpoint` saves and restores it; the next epoch depends on nothing else but its
    number, the data, the settings and the seed.
    """

    model: EmbeddingModel
    objective: CombinedLoss
    averaged: AveragedWeights[EmbeddingModel]
    optimizer: torch.optim.Optimizer
    epoch: int = 0  # epochs done
    step: int = 0  # optimiser steps done
    elapsed: float = 0.0  # seconds spent training, validation left out

    @classmethod
    def start(cls, model: EmbeddingModel, objective: CombinedLoss, settings: TrainParams) -> TrainingState:
        """The state before the first step. The model must already lie where and as it will be trained
        (device, memory layout), since the optimiser and the averaged weights hold on to its tensors.
        """
        optimizer = torch.optim.AdamW(
            _by_rate(model, objective, settings.layer_decay),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        return cls(model, objective, AveragedWeights(model, settings.ema), optimizer)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What holds weights, by its name in a checkpoint."""
        return {"model": self.model, "objective": self.objective, "averaged": self.averaged}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser moves."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def progress(self, settings: TrainParams, seconds: float = 0.0) -> float:
        """Share of the training that is over, from 0; 1 or more at its end.

        Args:
            settings: its length, in steps or in seconds.
            seconds: of the epoch under way.
        """
        if settings.max_seconds is not None:
            return (self.elapsed + seconds) / settings.max_seconds
        return self.step / settings.steps

    def set_rates(self, settings: TrainParams, progress: float) -> None:
        """Learning rate and momentum of the next step, by the schedule."""
        rates = SCHEDULES[settings.schedule](progress, settings.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * group["share"] * rates.factor
            group["betas"] = (rates.beta1, 0.999)


def _by_rate(model: EmbeddingModel, objective: CombinedLoss, decay: float) -> list[dict[str, Any]]:
    """What is trained, in groups that learn at the same ``share`` of the rate.

    Each block of the backbone learns at ``decay`` times the rate of the next one towards the output, so that
    what the first ones know of edges and colours lasts (layer-wise learning-rate decay: Howard & Ruder 2018,
    section 3.2; Clark et al. 2020, appendix A). The last block learns at ``decay`` of the rate, what follows
    the backbone at all of it.
    """
    shares = {
        parameter: decay**depth
        for depth, block in enumerate(reversed(blocks_of(model.backbone)), 1)
        for parameter in block
    }
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in (*model.parameters(), *objective.parameters()):
        if parameter.requires_grad:
            groups.setdefault(shares.get(parameter, 1.0), []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]
