"""Tracklets that are one person's: joined across segment borders by their boxes, and after a loss by appearance and motion."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

__all__ = ["Ends", "chain", "join_border", "link_costs"]

_SAME_BOX_IOU = 0.7
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """Where N tracklets begin and end, and how they look.

    ``first_s``, ``last_s`` (N,) seconds; ``head``, ``tail`` (N, 8): the box xyxy at the start and at the end with its velocity in
    pixels a second; ``embeddings`` (N, D) of norm 1.
    """

    first_s: Floats
    last_s: Floats
    head: Floats
    tail: Floats
    embeddings: Floats


def join_border(
    before: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats], after: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]
) -> list[tuple[int, int]]:
    """Pairs (id before, id after) of tracklets with the same boxes in the frames that two segments share.

    Each side is ``(ids (N,), frames (N,), boxes (N, 4) xyxy)`` of the shared frames alone. Pairs are one to one, most shared
    boxes first.
    """
    ids_a, frames_a, boxes_a = before
    ids_b, frames_b, boxes_b = after
    votes: dict[tuple[int, int], int] = {}
    for number in np.intersect1d(frames_a, frames_b):
        a, b = np.flatnonzero(frames_a == number), np.flatnonzero(frames_b == number)
        for i, j in np.argwhere(box_iou(boxes_a[a], boxes_b[b]) >= _SAME_BOX_IOU):
            pair = (int(ids_a[a[i]]), int(ids_b[b[j]]))
            votes[pair] = votes.get(pair, 0) + 1
    pairs: list[tuple[int, int]] = []
    used_a: set[int] = set()
    used_b: set[int] = set()
    for one, two in sorted(votes, key=lambda pair: (-votes[pair], pair)):
        if one not in used_a and two not in used_b:
            pairs.append((one, two))
            used_a.add(one)
            used_b.add(two)
    return pairs


def link_costs(ends: Ends, max_gap_s: float, max_distance: float) -> Floats:
    """What it costs to continue tracklet i (row) as tracklet j (column): (N, N), infinite where it cannot be.

    j begins after i ends, at most ``max_gap_s`` later, looks alike (Euclidean distance of embeddings at most ``max_distance``), and
    begins where somebody walking can have come to: within one body height, plus half a body height for each second of the gap,
    of where i was or was heading.
    """
    gap = ends.first_s[None, :] - ends.last_s[:, None]
    distance = np.sqrt(np.maximum(2.0 - 2.0 * ends.embeddings @ ends.embeddings.T, 0.0))
    height = np.maximum(ends.tail[:, 3] - ends.tail[:, 1], 1.0)[:, None]
    feet = _feet(ends.tail)[:, None]
    ahead = feet + _feet_velocity(ends.tail)[:, None] * np.clip(gap, 0.0, 2.0)[:, :, None]
    target = _feet(ends.head)[None, :]
    away = np.minimum(np.linalg.norm(target - feet, axis=2), np.linalg.norm(target - ahead, axis=2)) / height
    reach = 1.0 + 0.5 * np.maximum(gap, 0.0)
    possible = (gap > 0) & (gap <= max_gap_s) & (distance <= max_distance) & (away <= reach)
    np.fill_diagonal(possible, False)
    cost = distance / max(max_distance, 1e-9) + 0.5 * away / reach + 0.25 * gap / max(max_gap_s, 1e-9)
    return np.where(possible, cost, np.inf)


def chain(costs: Floats) -> npt.NDArray[np.int64]:
    """Group N tracklets into chains of least total cost, each with at most one successor and one predecessor: labels (N,).

    Labels are the index of the chain's first member.
    """
    count = len(costs)
    label = np.arange(count)
    if not np.isfinite(costs).any():
        return label
    impossible = 1e6
    rows, columns = linear_sum_assignment(np.where(np.isfinite(costs), costs, impossible))
    follows = {int(j): int(i) for i, j in zip(rows, columns, strict=True) if np.isfinite(costs[i, j])}
    for j in range(count):
        first, steps = j, 0
        while first in follows and steps <= count:
            first, steps = follows[first], steps + 1
        label[j] = first
    return label


def box_iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (N, 4) and (M, 4) xyxy: (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)


def _feet(end: Floats) -> Floats:
    return np.stack([(end[:, 0] + end[:, 2]) / 2, end[:, 3]], axis=1)


def _feet_velocity(end: Floats) -> Floats:
    return np.stack([(end[:, 4] + end[:, 6]) / 2, end[:, 7]], axis=1)
