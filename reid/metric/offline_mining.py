"""Hard and semi-hard triplets of a whole training set, by blocks: embed everything, choose, train on the
choice, repeat later.
"""

from typing import Literal

import torch
from torch import Tensor

from reid.errors import ReidError, UsageError
from reid.metric.distances import full_precision, pairwise_distances
from reid.metric.mining import Triplets

__all__ = ["mine_training_set"]


@torch.no_grad()
def mine_training_set(
    embeddings: Tensor,
    labels: Tensor,
    rule: Literal["hard", "semi_hard"] = "semi_hard",
    *,
    generator: torch.Generator | None = None,
    block: int = 1024,
) -> Triplets:
    """One triplet for every image that has a positive and a fitting negative.

    ``hard`` takes the farthest image of the same label and the nearest of another (Hermans 2017 calls this
    offline hard mining); ``semi_hard`` draws a positive and takes the nearest negative beyond it (Schroff
    2015, section 3.2).

    Args:
        embeddings: (N, D), compared by Euclidean distance.
        labels: (N,) of any integer values.
        rule: which triplets.
        generator: chooses the positives of ``semi_hard``.
        block: rows at a time; memory is that of a few (block, block) matrices beside the embeddings.

    Raises:
        UsageError: an unknown rule, or a block below 1.
        ReidError: shapes that do not fit.
    """
    if rule not in ("hard", "semi_hard"):
        raise UsageError(f"rule of the offline mining is {rule!r}: take hard or semi_hard")
    if block < 1:
        raise UsageError(f"block of the offline mining is {block}: take at least 1")
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ReidError(
            f"embeddings {tuple(embeddings.shape)} and labels {tuple(labels.shape)}: mining takes (N, "
            "D) and (N,)"
        )
    with full_precision(embeddings):
        reach, positive = _positives(embeddings, labels, rule, generator, block)
        floor = reach if rule == "semi_hard" else torch.full_like(reach, -torch.inf)
        negative = _nearest_negatives(embeddings, labels, floor, block)
    anchor = ((positive >= 0) & (negative >= 0)).nonzero().flatten()
    return Triplets(anchor, positive[anchor], negative[anchor])


def _positives(
    embeddings: Tensor, labels: Tensor, rule: str, generator: torch.Generator | None, block: int
) -> tuple[Tensor, Tensor]:
    """Distance to the chosen positive of each row, and its row number; -1 where the row is alone."""
    reach = torch.zeros(
        len(labels), dtype=torch.promote_types(embeddings.dtype, torch.float32), device=embeddings.device
    )
    positive = torch.full_like(labels, -1, dtype=torch.int64)
    order = labels.argsort(stable=True)
    for rows in order.split(labels[order].unique_consecutive(return_counts=True)[1].tolist()):
        if len(rows) < 2:
            continue
        for part in torch.arange(len(rows), device=rows.device).split(block):
            mine = rows[part]
            if rule == "hard":
                reach[mine], place = _farthest(embeddings, mine, rows, block)
            else:
                place = torch.randint(len(rows) - 1, (len(part),), generator=generator, device=rows.device)
                place += place >= part  # skip the row itself
                reach[mine] = torch.linalg.vector_norm(
                    (embeddings[mine] - embeddings[rows[place]]).to(reach.dtype), dim=1
                )
            positive[mine] = rows[place]
    return reach, positive


def _farthest(embeddings: Tensor, mine: Tensor, rows: Tensor, block: int) -> tuple[Tensor, Tensor]:
    best, place = None, torch.zeros_like(mine)
    for start in range(0, len(rows), block):
        other = rows[start : start + block]
        distance = pairwise_distances(embeddings[mine], embeddings[other]).masked_fill_(
            mine[:, None] == other, -1
        )
        value, column = distance.max(1)
        better = value > (-1 if best is None else best)
        place = torch.where(better, start + column, place)
        best = value if best is None else torch.maximum(best, value)
    assert best is not None
    return best, place


def _nearest_negatives(embeddings: Tensor, labels: Tensor, floor: Tensor, block: int) -> Tensor:
    """Row of the nearest image of another label farther than ``floor`` (N,); -1 where there is none."""
    found = torch.full_like(labels, -1, dtype=torch.int64)
    for start in range(0, len(labels), block):
        mine = slice(start, start + block)
        least = torch.full_like(floor[mine], torch.inf)
        for other in range(0, len(labels), block):
            theirs = slice(other, other + block)
            distance = pairwise_distances(embeddings[mine], embeddings[theirs])
            forbidden = (labels[mine, None] == labels[None, theirs]) | (distance <= floor[mine, None])
            value, column = distance.masked_fill_(forbidden, torch.inf).min(1)
            better = value < least
            found[mine] = torch.where(better, other + column, found[mine])
            least = torch.minimum(least, value)
    return found
