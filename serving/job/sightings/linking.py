"""Tracklets that are one person's: joined across segment borders by their boxes, and after a loss by
appearance and motion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from reid.evaluation.pairs import squared_distances_of_pairs
from serving.overlap import box_iou

__all__ = ["Ends", "at_edge", "chain", "join_border", "link_scores", "neutral_distance"]

_SAME_BOX_IOU = 0.7
_KEEPS_SPEED_S = 1.5  # how long somebody walks on as before
_MISS, _MISS_PER_S = 0.25, 0.3  # standard deviation of a predicted place, in body heights
_LEAST_PAIRS = 20
_SCENE = 60.0  # area of a picture in squared body heights
_LEFT = np.log(10.0)  # nine of ten who reach the picture's edge are not back within the gap
_CAME = np.log(4.0)  # who is new begins at an edge, a quarter of the picture, more often than anywhere else
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ends:
    """Where N tracklets begin and end, and how they look.

    ``first_s``, ``last_s`` (N,) seconds; ``head``, ``tail`` (N, 8): the box xyxy at the start and at the end
    with its velocity in pixels a second; ``embeddings`` (N, D) of norm 1; ``enters``, ``leaves`` (N,) bool:
    it begins or ends at the picture's edge.
    """

    first_s: Floats
    last_s: Floats
    head: Floats
    tail: Floats
    embeddings: Floats
    enters: Bools
    leaves: Bools


def join_border(before: tuple[Ints, Ints, Floats], after: tuple[Ints, Ints, Floats]) -> list[tuple[int, int]]:
    """Pairs (id before, id after) of tracklets with the same boxes in the frames that two segments share.

    Each side is ``(ids (N,), frames (N,), boxes (N, 4) xyxy)`` of the shared frames alone. Pairs are one to
    one, most shared boxes first.
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


def neutral_distance(cameras: Sequence[Ends], most: float) -> float:
    """The distance between embeddings that speaks neither for one person nor for two, in this footage; at
    most ``most``.

    Tracklets that one camera sees at the same time are different people, so their distances show how unlike
    two people of this footage look at least: four fifths of what all but one in twenty pairs exceed. With too
    few pairs the answer is ``most``.
    """
    apart = np.concatenate([np.zeros(0), *(_apart(ends) for ends in cameras)])
    if len(apart) < _LEAST_PAIRS:
        return most
    return min(most, 0.8 * float(np.quantile(apart, 0.05)))


def _apart(ends: Ends) -> Floats:
    """Distances of the pairs of tracklets that are there at the same time."""
    order = np.argsort(ends.first_s, kind="stable")
    begins = ends.first_s[order]
    reach = np.searchsorted(begins, ends.last_s[order], side="right")
    count = np.maximum(reach - np.arange(len(order)) - 1, 0)
    # Of n tracklets there are n^2 / 2 pairs, but only those that overlap are written out: the tracklets that
    # begin within tracklet i follow it in the order of beginnings, so j counts up from i + 1.
    i = np.repeat(np.arange(len(order)), count)
    j = i + 1 + np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return _distances(ends.embeddings, order[i], order[j])


def _distances(embeddings: Floats, i: Ints, j: Ints) -> Floats:
    """Euclidean distances (M,) between rows ``i`` and ``j`` (M,) of (N, D)."""
    return np.sqrt(squared_distances_of_pairs(embeddings, embeddings, np.column_stack([i, j])))


def link_scores(ends: Ends, max_gap_s: float, same_distance: float) -> tuple[Ints, Ints, Floats]:
    """Which tracklets can continue which, and how much speaks for it.

    The score is a log likelihood ratio, the same person against two people, of how far apart end and
    beginning lie and of how alike they look. Somebody unseen keeps his speed for a while; where he is then is
    uncertain by a quarter of a body height plus a third for each second. Somebody else may begin anywhere in
    the picture, and does so most often at its edge, where people also leave for good. Embeddings at
    ``same_distance`` (Euclidean) speak for neither side, a tenth less is worth one unit.

    Args:
        ends: of N tracklets of one camera.
        max_gap_s: longest time unseen.
        same_distance: above 0, where appearance says nothing; see :func:`neutral_distance`.

    Returns:
        ``(i, j, score)``, each (M,): tracklet j may continue tracklet i; only pairs with a positive score.
    """
    i, j = _within_gap(ends, max_gap_s)
    gap = ends.first_s[j] - ends.last_s[i]
    height = np.sqrt(
        np.maximum((ends.tail[i, 3] - ends.tail[i, 1]) * (ends.head[j, 3] - ends.head[j, 1]), 1.0)
    )
    # Seconds of walking as before: as many as have passed at first, _KEEPS_SPEED_S at most, since nobody
    # keeps his direction. The integral of a speed that dies away exponentially.
    walked = (_KEEPS_SPEED_S * (1.0 - np.exp(-gap / _KEEPS_SPEED_S)))[:, None]
    apart = _feet(ends.head[j]) - _feet(ends.tail[i])
    # Predicted from the end and from the beginning: each has an error of its own, so their mean is steadier.
    forward = np.linalg.norm(apart - _feet_velocity(ends.tail[i]) * walked, axis=1)
    backward = np.linalg.norm(apart - _feet_velocity(ends.head[j]) * walked, axis=1)
    miss = (forward + backward) / (2.0 * height)
    sigma = _MISS + _MISS_PER_S * gap
    # Log of a normal density in the plane, in body heights, over that of a place anywhere in the picture.
    motion = np.log(_SCENE / (2.0 * np.pi * sigma**2)) - miss**2 / (2.0 * sigma**2)
    distance = _distances(ends.embeddings, i, j)
    # Clipped, so that one odd crop cannot outweigh a place that fits.
    appearance = np.clip((same_distance - distance) / (0.1 * same_distance), -5.0, 5.0)
    score = motion + appearance - _LEFT * ends.leaves[i] - _CAME * ends.enters[j]
    good = score > 0
    return i[good], j[good], score[good]


def chain(count: int, i: Ints, j: Ints, score: Floats) -> Ints:
    """Group ``count`` tracklets into chains of largest total score, each with at most one successor and one
    predecessor.

    Returns labels (count,): the index of the chain's first member.
    """
    follows: dict[int, int] = {}
    # Rows are ends, columns are beginnings: the assignment falls apart into small independent ones.
    graph = coo_array((np.ones(len(i)), (i, j + count)), shape=(2 * count, 2 * count))
    _, part = connected_components(graph, directed=False)
    for number in np.unique(part[i]):
        mine = np.flatnonzero(part[i] == number)
        rows, row = np.unique(i[mine], return_inverse=True)
        columns, column = np.unique(j[mine], return_inverse=True)
        # Pairs that are not possible stay at 0: they may be assigned, and are dropped below.
        gain = np.zeros((len(rows), len(columns)))
        gain[row, column] = score[mine]
        for r, c in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
            if gain[r, c] > 0:
                follows[int(columns[c])] = int(rows[r])
    label = np.arange(count)
    for one in range(count):
        first = one
        while first in follows:  # ends, for a successor always begins later
            first = follows[first]
        label[one] = first
    return label


def _within_gap(ends: Ends, max_gap_s: float) -> tuple[Ints, Ints]:
    order = np.argsort(ends.first_s, kind="stable")
    begins = ends.first_s[order]
    # Those who begin within the gap after tracklet i are one stretch of the sorted beginnings.
    low = np.searchsorted(begins, ends.last_s, side="right")
    high = np.searchsorted(begins, ends.last_s + max_gap_s, side="right")
    count = high - low
    i = np.repeat(np.arange(len(begins)), count)
    offset = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return i, order[np.repeat(low, count) + offset]


def at_edge(boxes: Floats, width: int, height: int) -> Bools:
    """Which boxes (N, 4 or more) xyxy are at the edge of the picture, or nearer to it than a tenth of their
    height.
    """
    near = 0.1 * (boxes[:, 3] - boxes[:, 1])
    low = (boxes[:, 0] <= near) | (boxes[:, 1] <= near)
    return np.asarray(low | (boxes[:, 2] >= width - near) | (boxes[:, 3] >= height - near), np.bool_)


def _feet(end: Floats) -> Floats:
    return np.stack([(end[:, 0] + end[:, 2]) / 2, end[:, 3]], axis=1)


def _feet_velocity(end: Floats) -> Floats:
    return np.stack([(end[:, 4] + end[:, 6]) / 2, end[:, 7]], axis=1)
