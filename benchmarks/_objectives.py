"""The objectives that claims compare, and the heads that they train."""

from functools import cache
from typing import Any

import numpy as np
import torch
from _heads import embedded, new_head, objective_from, train_head
from _people import World, mean_ap
from torch import Tensor, nn

from reid.losses import CombinedLoss, LossOutput
from reid.metric.distances import pairwise_distances, unit_rows
from reid.models.embedder import EmbeddingModel
from reid.training.renewal import BatchPlan
from reid.training.samplers import build_sampler

__all__ = ["DIM", "model_of", "score", "trained_from"]

DIM = 128
_MARGIN = {"margin": 0.2, "normalise": True}
_TREE = {"terms": {"hierarchical": {"options": {"beta": 0.1}}}, "sampler": "neighbourhoods"}


def _mined(miner: str, **more: Any) -> dict[str, Any]:
    return {"terms": {"triplet": {"miner": miner, "options": _MARGIN}}, **more}


def _offline() -> dict[str, Any]:
    return _mined("drawn", sampler={"name": "mined", "options": {"rule": "semi_hard", "normalise": True}})


def _quadruplet(**options: Any) -> dict[str, Any]:
    return {"terms": {"quadruplet": {"options": {"metric": "learned", "warmup_steps": 60} | options}}}


def _center(weight: float) -> dict[str, Any]:
    return {"terms": {"center": {"options": {"center_weight": weight}}}}


OBJECTIVES: dict[str, dict[str, Any]] = {
    "random": _mined("random"),
    "batch_hard": _mined("batch_hard"),
    "semi_hard": _mined("random_semi_hard"),
    "distance_weighted": _mined("distance_weighted"),
    "offline": _offline(),
    "quadruplet": _quadruplet(),
    "fixed_margins": _quadruplet(adaptive=False),
    "learned_triplet": _quadruplet(adaptive=False, quadruplet_weight=0.0),
    "plain": _mined("all"),
    "hierarchical": _TREE,
    "center_0": _center(0.0),
    "center_1": _center(0.01),
    "center_2": _center(0.1),
    "divided": _mined("batch_hard", divide={"learners": 4}),
    "log_ratio": {"terms": {"log_ratio": {"options": {"anchors": "first"}}}, "sampler": "dense"},
}
"""As sections of ``objectives`` in params.yaml."""


class Thresholded(nn.Module):
    """Triplets of continuous labels by a threshold: the anchor of a dense batch, which comes first, with each
    of its neighbours as positive and each of the others as negative (the baseline of Kim 2019).
    """

    continuous = True

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        rows = unit_rows(embeddings)
        distance = pairwise_distances(rows[:1], rows[1:])[0]
        near, far = distance.tensor_split([len(distance) // 2 + 1])
        gap = near[:, None] - far[None] + _MARGIN["margin"]
        active = (gap > 0).double().mean()
        return LossOutput(gap.relu().mean(), active, near.detach().mean(), far.detach().mean())


@cache
def model_of(
    world: World,
    seed: int,
    name: str,
    dim: int = DIM,
    steps: int | None = None,
    people: int | None = None,
) -> EmbeddingModel:
    """The head trained by an objective, in evaluation mode; what several claims ask for is trained once."""
    head = new_head(world.features, dim, seed)
    return trained_from(world, seed, name, head, steps or world.steps, people)[0]


def trained_from(
    world: World,
    seed: int,
    name: str,
    model: EmbeddingModel,
    steps: int,
    people: int | None = None,
    follow: bool = False,
) -> tuple[EmbeddingModel, list[float]]:
    torch.manual_seed(seed)
    rows = world.training_rows(seed, people)
    if name == "thresholded":
        objective = CombinedLoss({name: (1.0, Thresholded())}, frozenset())
        plan = BatchPlan(build_sampler("dense", {}))
    else:
        count = len(np.unique(world.identities[rows]))
        objective, plan = objective_from(OBJECTIVES[name], count, model.dim, len(rows))
    return train_head(world, rows, objective, plan, seed, model, steps, follow)


def score(world: World, seed: int, name: str, **how: Any) -> float:
    """mAP of the people held out."""
    test = world.test_rows(seed)
    rows = embedded(model_of(world, seed, name, **how), world.features[test])
    return mean_ap(rows, world.identities[test], world.cameras[test])
