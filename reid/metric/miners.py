"""The miners by name: which triplets of a batch a triplet loss counts.

A miner takes distances (B, B), labels (B,) and the number of dimensions D of the embeddings, and gives
:class:`reid.metric.mining.Triplets`. An entry of ``MINERS`` takes the miner's options and returns it. Chance
comes from torch's own generator.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from reid.errors import ReidError
from reid.metric import mining
from reid.metric.mining import Groups, Triplets
from reid.options import fitting, one_of

__all__ = ["MINERS", "Miner", "build_miner", "drawn", "random_negative", "random_semi_hard"]

Miner = Callable[[Tensor, Tensor, int], Triplets]


@torch.no_grad()
def random_semi_hard(distances: Tensor, labels: Tensor, margin: float = 0.2) -> Triplets:
    """For every positive pair a random one of the negatives that are farther than the positive by less than
    ``margin`` (Schroff, Kalenichenko and Philbin 2015, section 3.2: they "lie inside the margin").

    A pair without such a negative is left out. ``margin`` is in the units of ``distances``.
    """
    partner, usable = Groups.of(labels).partners()
    negatives = mining.negative_mask(labels)
    reach = distances.gather(1, partner)
    chosen, found = torch.zeros_like(partner), torch.zeros_like(usable)
    for slot in range(partner.shape[1]):  # one positive of every anchor at a time: (B, B), never (B, B, K)
        gap = distances - reach[:, slot : slot + 1]
        inside = negatives & (gap > 0) & (gap < margin)
        chosen[:, slot], found[:, slot] = _one_of_each_row(inside)
    anchor, slot_of = (found & usable).nonzero(as_tuple=True)
    return Triplets(anchor, partner[anchor, slot_of], chosen[anchor, slot_of])


@torch.no_grad()
def random_negative(distances: Tensor, labels: Tensor) -> Triplets:
    """For every positive pair a random negative: what all other miners are held against."""
    partner, usable = Groups.of(labels).partners()
    negatives = mining.negative_mask(labels)
    chosen = torch.zeros_like(partner)
    for slot in range(partner.shape[1]):
        chosen[:, slot], _ = _one_of_each_row(negatives)
    anchor, slot_of = (usable & negatives.any(1, keepdim=True)).nonzero(as_tuple=True)
    return Triplets(anchor, partner[anchor, slot_of], chosen[anchor, slot_of])


@torch.no_grad()
def drawn(distances: Tensor, labels: Tensor) -> Triplets:
    """The triplets as the sampler ``mined`` lays them out: all anchors, all positives, all negatives.

    Raises:
        ReidError: the batch does not fall into such thirds.
    """
    count, rest = divmod(len(labels), 3)
    rows = torch.arange(len(labels), device=labels.device)
    anchor, positive, negative = (rows[part * count : (part + 1) * count] for part in range(3))
    if (
        rest
        or not torch.equal(labels[anchor], labels[positive])
        or bool((labels[anchor] == labels[negative]).any())
    ):
        raise ReidError("the batch is not laid out in triplets: the miner drawn goes with the sampler mined")
    return Triplets(anchor, positive, negative)


def _one_of_each_row(mask: Tensor) -> tuple[Tensor, Tensor]:
    """A random true column of each row of a (B, B) mask, and which rows have one."""
    score = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
    best, column = score.max(1)
    return column, best >= 0


def _as_is(mine: Callable[[Tensor, Tensor], Triplets]) -> Callable[[], Miner]:
    """The entry of a miner without options, which does not look at the dimensions."""
    return lambda: lambda distances, labels, dim: mine(distances, labels)


def _random_semi_hard(margin: float = 0.2) -> Miner:
    return lambda distances, labels, dim: random_semi_hard(distances, labels, margin)


def _distance_weighted(nearest: float = 0.5, farthest: float = 1.4) -> Miner:
    return lambda distances, labels, dim: mining.distance_weighted(
        distances, labels, dim, nearest=nearest, farthest=farthest
    )


def _all() -> Miner:
    return lambda distances, labels, dim: mining.all_triplets(labels)


MINERS: dict[str, Callable[..., Miner]] = {
    "batch_hard": _as_is(mining.batch_hard),
    "easy_positive": _as_is(mining.easy_positive),
    "semi_hard": _as_is(mining.semi_hard),
    "random_semi_hard": _random_semi_hard,
    "distance_weighted": _distance_weighted,
    "random": _as_is(random_negative),
    "all": _all,
    "drawn": _as_is(drawn),
}


def build_miner(name: str, options: Mapping[str, Any]) -> Miner:
    """The miner ``name`` with its options.

    Raises:
        UsageError: an unknown name, or an option that is unknown, missing or of another type.
    """
    make = one_of(MINERS, name, "miner")
    built: Miner = make(**fitting(make, options, f"miner {name}"))
    return built
