"""Claims about objectives: each trains a small network on frozen features."""

from copy import deepcopy
from functools import cache, partial
from typing import Any

import numpy as np
from _claims import Claim
from _heads import SETTINGS, embedded
from _objectives import DIM, model_of, score, trained_from
from _people import World

from reid.evaluation.continuous import score_continuous

__all__ = ["CLAIMS"]

_FEW = 8


def against(name: str, other: str, world: World, seed: int) -> tuple[float, float]:
    """mAP by two objectives in equally many steps."""
    return score(world, seed, name), score(world, seed, other)


def per_hour(world: World, seed: int) -> tuple[float, float]:
    """mAP by batch-hard and by mining offline for the same cost. An image that is only embedded counts as a
    third of one trained on, whose gradient goes back too; so mining costs steps.
    """
    batch, epoch = SETTINGS.identities * SETTINGS.images, SETTINGS.epoch_steps
    mining = len(world.training_rows(seed)) / (3 * batch)
    steps = round(world.steps * epoch / (epoch + mining))
    return score(world, seed, "batch_hard"), score(world, seed, "offline", steps=steps)


@cache
def _continued(world: World, seed: int, name: str) -> list[float]:
    """mAP after each epoch of a training that goes on from one with plain triplets."""
    start = deepcopy(model_of(world, seed, "plain"))
    return trained_from(world, seed, name, start, world.steps // 2, follow=True)[1]


def continued(name: str, other: str, world: World, seed: int) -> tuple[float, float]:
    """mAP at the end of both continuations of the same model."""
    return _continued(world, seed, name)[-1], _continued(world, seed, other)[-1]


def per_epoch(name: str, other: str, world: World, seed: int) -> tuple[float, float]:
    """mAP after the first epoch of both."""
    return _continued(world, seed, name)[0], _continued(world, seed, other)[0]


def compactness(weight: str, less: str, world: World, seed: int) -> tuple[float, float]:
    """Mean distance within a person as a share of that between people, of a hundred trained on."""
    rows = world.training_rows(seed, 100)
    features, same = world.features[rows], world.identities[rows][:, None] == world.identities[rows]
    found = []
    for name in (weight, less):
        unit = embedded(model_of(world, seed, name), features)
        apart = np.sqrt(np.maximum(2 - 2 * unit @ unit.T, 0))
        within = apart[same & ~np.eye(len(rows), dtype=bool)].mean()
        found.append(float(within / apart[~same].mean()))
    return found[0], found[1]


@cache
def ndcg(world: World, seed: int, name: str, dim: int) -> float:
    """nDCG of the ten nearest by pose, every second picture of the people held out asking the others."""
    test = world.test_rows(seed)
    assert world.poses is not None
    rows, poses = embedded(model_of(world, seed, name, dim=dim), world.features[test]), world.poses[test]
    return score_continuous(rows[::2], poses[::2], rows[1::2], poses[1::2]).ndcg


def by_pose(dim: int, world: World, seed: int) -> tuple[float, float]:
    """nDCG by log-ratio and by thresholded triplets."""
    return ndcg(world, seed, "log_ratio", dim), ndcg(world, seed, "thresholded", dim)


def few_dimensions(world: World, seed: int) -> tuple[float, float]:
    """What log-ratio gains in few dimensions, and what it gains in many."""
    gains = [ours - other for ours, other in (by_pose(dim, world, seed) for dim in (_FEW, DIM))]
    return gains[0], gains[1]


def _mining(says: str, source: str, name: str, other: str, **more: Any) -> Claim:
    return Claim(says, source, _HEAD, "mAP", partial(against, name, other), **more)


_HEAD, _TWO = "a head", "a head, further"
CLAIMS: dict[str, Claim] = {
    "batch_hard": _mining("Batch-hard mining beats random triplets", "Hermans 2017", "batch_hard", "random"),
    "semi_hard": _mining("Semi-hard negatives beat random ones", "Schroff 2015", "semi_hard", "random"),
    "batch_hard_semi_hard": _mining("Batch-hard beats semi-hard", "Hermans 2017", "batch_hard", "semi_hard"),
    "distance_weighted": _mining(
        "Negatives drawn by distance beat random ones", "Wu 2017", "distance_weighted", "random"
    ),
    "distance_weighted_semi_hard": _mining(
        "Negatives drawn by distance beat semi-hard ones", "Wu 2017", "distance_weighted", "semi_hard"
    ),
    "online": Claim(
        "Mining online beats mining offline at equal cost",
        "Hermans 2017",
        _HEAD,
        "mAP",
        per_hour,
    ),
    "adaptive_margin": _mining(
        "The quadruplet's adaptive margin beats fixed margins", "Chen 2017", "quadruplet", "fixed_margins"
    ),
    "quadruplet": _mining(
        "The quadruplet with adaptive margin beats triplets of the same metric",
        "Chen 2017",
        "quadruplet",
        "learned_triplet",
    ),
    "hierarchical": Claim(
        "Margins of a class tree beat a fixed margin",
        "Ge 2018",
        _TWO,
        "mAP",
        partial(continued, "hierarchical", "plain"),
        tried="two seeds of PK batches in the place of neighbourhoods, real people: behind as well",
    ),
    "hierarchical_batch_hard": Claim(
        "Margins of a class tree beat batch-hard",
        "Ge 2018",
        _TWO,
        "mAP",
        partial(continued, "hierarchical", "batch_hard"),
        tried="whole networks from ImageNet's weights, PK batches, real people: ahead (docs/objectives.md)",
    ),
    "hierarchical_epoch": Claim(
        "Margins of a class tree bring more in the first epoch",
        "Ge 2018",
        _TWO,
        "mAP",
        partial(per_epoch, "hierarchical", "plain"),
    ),
    "center_1": Claim(
        "Centre loss makes people compact (lambda 0 to 0.01)",
        "Wen 2016",
        _HEAD,
        "distance within / between",
        partial(compactness, "center_1", "center_0"),
        smaller=True,
        quick=True,
        tried="in 1,200 steps (each person 29 times, not 7), one seed, real people: 0.547 falls to 0.498",
    ),
    "center_2": Claim(
        "and more so as lambda grows (0.01 to 0.1)",
        "Wen 2016",
        _HEAD,
        "distance within / between",
        partial(compactness, "center_2", "center_1"),
        smaller=True,
    ),
    "log_ratio": Claim(
        f"Log-ratio beats thresholded triplets on poses, {DIM} numbers",
        "Kim 2019",
        _HEAD,
        "nDCG",
        partial(by_pose, DIM),
        worlds=("rendered",),
        tried="nothing else; by chance nDCG is 0.775, so these features hardly tell poses",
    ),
    "log_ratio_few": Claim(
        f"Log-ratio beats thresholded triplets on poses, {_FEW} numbers",
        "Kim 2019",
        _HEAD,
        "nDCG",
        partial(by_pose, _FEW),
        worlds=("rendered",),
    ),
    "log_ratio_most_in_few": Claim(
        f"and by more with {_FEW} numbers than with {DIM}",
        "Kim 2019",
        _HEAD,
        "gain of nDCG",
        few_dimensions,
        worlds=("rendered",),
    ),
    "divide_and_conquer": _mining(
        "Divide and conquer, 4 learners, beats one embedding as wide",
        "Sanakoyeu 2019",
        "divided",
        "batch_hard",
        tried="two learners for 0.3 of the steps, one seed: behind as well",
    ),
}
