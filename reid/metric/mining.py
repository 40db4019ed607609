"""Choosing triplets inside a batch from its distance matrix.

All functions take distances (B, B), labels (B,) of any integer values, and give row numbers; an anchor is
never its own positive, and anchors without a positive or without a negative are left out. Nothing here
carries a gradient. For a whole training set see :mod:`reid.metric.offline_mining`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Groups",
    "Triplets",
    "all_triplets",
    "batch_hard",
    "dense_triplets",
    "distance_weighted",
    "easy_positive",
    "known_groups",
    "label_range",
    "labels_on",
    "negative_mask",
    "positive_mask",
    "semi_hard",
]


class Triplets(NamedTuple):
    """Row numbers, three int64 tensors (T,)."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


@dataclass(frozen=True, eq=False)
class Groups:
    """The rows of a batch by label: of P labels, the most frequent with K rows."""

    members: Tensor  # (P, K) row numbers, padded with any row
    sizes: Tensor  # (P,) how many are real
    group: Tensor  # (B,) the group of each row
    counts: tuple[int, ...]  # the sizes again, as plain numbers

    @classmethod
    def of(cls, labels: Tensor) -> "Groups":
        """Group labels (B,), B > 0. Those of :func:`labels_on` are known already."""
        if (known := known_groups(labels)) is not None:
            return known
        _, group, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
        counts = tuple(sizes.tolist())
        # Sorted by group, the rows of one lie side by side: the place in its group of each is how far it lies
        # behind the group's first.
        order = torch.argsort(group, stable=True)
        owner = group.index_select(0, order)
        first = sizes.cumsum(0) - sizes
        place = torch.arange(len(order), device=order.device) - first.index_select(0, owner)
        members = order.new_zeros(len(counts), max(counts))
        members[owner, place] = order
        return cls(members, sizes, group, counts)

    def to(self, device: torch.device) -> "Groups":
        """The same on another device."""
        members, sizes, group = (
            one.to(device, non_blocking=True) for one in (self.members, self.sizes, self.group)
        )
        return Groups(members, sizes, group, self.counts)

    @property
    def everyone_has_both(self) -> bool:
        """Whether every row has a positive and a negative."""
        return len(self.counts) > 1 and min(self.counts) > 1

    @property
    def positive_pairs(self) -> int:
        """Ordered pairs of different rows with the same label."""
        return sum(size * (size - 1) for size in self.counts)

    @property
    def negative_pairs(self) -> int:
        """Ordered pairs of rows with different labels."""
        return len(self.group) ** 2 - sum(size * size for size in self.counts)

    @property
    def triplets(self) -> int:
        """Anchor, positive and negative."""
        rows = len(self.group)
        return sum(size * (size - 1) * (rows - size) for size in self.counts)

    @property
    def quadruplets(self) -> int:
        """Unordered positive pairs with unordered pairs of two other labels."""
        rows, negative = len(self.group), self.negative_pairs
        return sum(size * (size - 1) // 2 * (negative // 2 - size * (rows - size)) for size in self.counts)

    @property
    def valid(self) -> Tensor:
        """(P, K): which members are real."""
        return torch.arange(self.members.shape[1], device=self.sizes.device) < self.sizes[:, None]

    def same(self, dtype: torch.dtype) -> Tensor:
        """(B, B): 1 where two rows have the same label, the diagonal included, and 0 elsewhere."""
        group = self.group.to(dtype)
        # Comparing floats into floats vectorises; the bool matrix and its conversion take ten times as long.
        return torch.eq(
            group[:, None],
            group[None, :],
            out=torch.empty(len(group), len(group), dtype=dtype, device=group.device),
        )

    def partners(self) -> tuple[Tensor, Tensor]:
        """For each row the rows of its group (B, K), and which of them are real and not the row itself (B,
        K).
        """
        partner = self.members[self.group]
        another = partner != torch.arange(len(partner), device=partner.device)[:, None]
        return partner, another if min(self.counts) == max(self.counts) else another & self.valid[self.group]


def labels_on(device: torch.device, labels: Tensor) -> Tensor:
    """Labels (B,) int64 of a batch, from the processor's memory to ``device``, with their groups.

    What all losses want to know of them is found once, where it costs nothing; on a GPU each loss would wait
    for it.
    """
    moved = labels.to(device, non_blocking=True)
    groups = Groups.of(labels).to(device)
    moved.reid_groups = groups, int(labels.min()), int(labels.max())  # type: ignore[attr-defined]
    return moved


def known_groups(labels: Tensor) -> Groups | None:
    """The groups of labels that came from :func:`labels_on`."""
    found = getattr(labels, "reid_groups", None)
    return None if found is None else found[0]


def label_range(labels: Tensor) -> tuple[int, int]:
    """The least and the largest of labels (B,), B > 0."""
    found = getattr(labels, "reid_groups", None)
    return (int(labels.min()), int(labels.max())) if found is None else found[1:]


def positive_mask(labels: Tensor) -> Tensor:
    """(B, B) bool: same label and not the same row."""
    return (labels[:, None] == labels[None, :]).fill_diagonal_(False)


def negative_mask(labels: Tensor) -> Tensor:
    """(B, B) bool: different labels."""
    return labels[:, None] != labels[None, :]


@torch.no_grad()
def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """The farthest positive and the nearest negative of every anchor that has both (Hermans 2017, section
    2).
    """
    same = labels[:, None] == labels[None, :]
    # Distances are never negative, so -1 marks what is no candidate.
    farthest, positive = torch.where(same, distances, -1.0).fill_diagonal_(-1.0).max(1)
    nearest, negative = distances.masked_fill(same, torch.inf).min(1)
    groups = known_groups(labels)
    if groups is not None and groups.everyone_has_both:  # nobody has to be looked for
        return Triplets(torch.arange(len(labels), device=labels.device), positive, negative)
    anchor = ((farthest >= 0) & (nearest < torch.inf)).nonzero().flatten()
    return Triplets(anchor, positive[anchor], negative[anchor])


@torch.no_grad()
def easy_positive(distances: Tensor, labels: Tensor) -> Triplets:
    """The nearest positive and the nearest negative of every anchor that has both (Xuan 2020, section
    3.2).
    """
    positives, negatives = positive_mask(labels), negative_mask(labels)
    nearest_positive, positive = distances.masked_fill(~positives, torch.inf).min(1)
    nearest, negative = distances.masked_fill(~negatives, torch.inf).min(1)
    anchor = ((nearest_positive < torch.inf) & (nearest < torch.inf)).nonzero().flatten()
    return Triplets(anchor, positive[anchor], negative[anchor])


@torch.no_grad()
def semi_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """For every positive pair the nearest negative that is farther than the positive (Schroff 2015, section
    3.2).

    A pair whose positive is farther than every negative has no semi-hard negative and is left out.
    """
    groups = Groups.of(labels)
    partner, usable = groups.partners()
    negatives = distances.masked_fill(labels[:, None] == labels[None, :], -torch.inf)
    reach = torch.where(usable, distances.gather(1, partner), torch.inf)
    chosen, found = torch.zeros_like(partner), torch.zeros_like(usable)
    for slot in range(partner.shape[1]):
        beyond = negatives > reach[:, slot : slot + 1]
        nearest, chosen[:, slot] = torch.where(beyond, negatives, torch.inf).min(1)
        found[:, slot] = nearest < torch.inf
    anchor, slot_of = found.nonzero(as_tuple=True)
    return Triplets(anchor, partner[anchor, slot_of], chosen[anchor, slot_of])


@torch.no_grad()
def distance_weighted(
    distances: Tensor,
    labels: Tensor,
    embedding_dim: int,
    generator: torch.Generator | None = None,
    *,
    nearest: float = 0.5,
    farthest: float = 1.4,
) -> Triplets:
    """For every positive pair a negative drawn with weight 1 / q(d), q the density of distances on the unit
    sphere (Wu 2017, section 4.1).

    Args:
        distances: (B, B) Euclidean, of L2-normalised embeddings.
        labels: (B,).
        embedding_dim: D of the sphere; from D = 3 on.
        generator: the source of chance.
        nearest: distances below count as this, so that noise does not take all the weight.
        farthest: negatives beyond are drawn only where the anchor has no other.
    """
    negatives = negative_mask(labels)
    d = distances.double().clamp(nearest, 2 - 1e-6)
    log_weight = -(embedding_dim - 2) * d.log() - 0.5 * (embedding_dim - 3) * (1 - 0.25 * d * d).log()
    within = negatives & (distances < farthest)
    log_weight = log_weight.masked_fill(~within, -torch.inf)
    weight = (log_weight - log_weight.amax(1, keepdim=True).nan_to_num(neginf=0)).exp()
    # An anchor with nothing within reach takes any negative; the last term keeps rows without any drawable,
    # they are dropped below.
    weight = torch.where(within.any(1, keepdim=True), weight, negatives.double())
    some = negatives.any(1)
    weight[~some] = 1
    partner, usable = Groups.of(labels).partners()
    drawn = torch.multinomial(weight, partner.shape[1], replacement=True, generator=generator)
    anchor, slot = (usable & some[:, None]).nonzero(as_tuple=True)
    return Triplets(anchor, partner[anchor, slot], drawn[anchor, slot])


@torch.no_grad()
def all_triplets(labels: Tensor) -> Triplets:
    """Every triplet of a batch: for looking at small batches, not for training on large ones."""
    positives, negatives = positive_mask(labels), negative_mask(labels)
    return Triplets(*(positives[:, :, None] & negatives[:, None, :]).nonzero(as_tuple=True))


@torch.no_grad()
def dense_triplets(label_distances: Tensor) -> Triplets:
    """All triplets (a, i, j) of row a with i nearer than j by label (Kim 2019, section 3.3).

    Args:
        label_distances: (A, B) distances of the labels of A anchors, the first rows of the batch, to those of
            the whole batch.
    """
    count, size = label_distances.shape
    rows = torch.arange(size, device=label_distances.device)
    other = rows != rows[:count, None]
    nearer = label_distances[:, :, None] < label_distances[:, None, :]
    return Triplets(*(nearer & other[:, :, None] & other[:, None, :]).nonzero(as_tuple=True))
