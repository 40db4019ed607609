"""Loops over a batch's distances, compiled for the CPU by Numba: one pass where tensor operations take
twenty.

Matrices are C-contiguous (B, B) arrays of one floating dtype without NaN; ``members``, ``sizes`` and
``group`` are those of :class:`reid.metric.mining.Groups`. What is found goes into ``slope`` (B, B).
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

__all__ = [
    "centre",
    "distances_from_products",
    "group_rows",
    "pair_sums",
    "pull_weights",
    "quadruplet_sums",
    "sum_of",
    "triplet_sums",
]

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]

_OUT_OF_REACH = 1e30  # in place of what is no negative
_TILE = 32  # rows and columns that stay in the cache while a matrix is added to its transpose
_compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")
# A sum vectorises only if it may be taken in another order, which is the same in every run.
_compiled_sum: Callable[..., Any] = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"}
)


@_compiled
def group_rows(labels: Ints) -> tuple[Ints, Ints, Ints]:
    """``members``, ``sizes`` and ``group`` of rows with labels (B,), in the order of the labels."""
    order = np.argsort(labels, kind="mergesort")
    group, sizes, number = np.empty(len(labels), np.int64), np.zeros(len(labels), np.int64), -1
    for place in range(len(labels)):
        if place == 0 or labels[order[place]] != labels[order[place - 1]]:
            number += 1
        group[order[place]] = number
        sizes[number] += 1
    sizes = sizes[: number + 1].copy()
    members, begin = np.zeros((number + 1, sizes.max()), np.int64), 0
    for own in range(number + 1):
        members[own, : sizes[own]] = order[begin : begin + sizes[own]]
        begin += sizes[own]
    return members, sizes, group


@_compiled
def sum_of(rows: Floats) -> float:
    """Of all numbers (N, D); not finite where one of them is not."""
    total = 0.0
    for row in range(len(rows)):
        total += _sum(rows[row])
    return total


@_compiled
def centre(rows: Floats, centred: Floats) -> None:
    """Rows (N, D) moved so that their mean is at the origin."""
    mean = np.zeros(rows.shape[1], rows.dtype)
    for row in range(len(rows)):
        for column in range(len(mean)):
            mean[column] += rows[row, column]
    for column in range(len(mean)):
        mean[column] /= rows.dtype.type(len(rows))
    for row in range(len(rows)):
        for column in range(len(mean)):
            centred[row, column] = rows[row, column] - mean[column]


@_compiled
def distances_from_products(products: Floats, squared: bool) -> None:
    """The matrix of all dot products of some rows becomes that of their distances; its diagonal is zero."""
    norms, nothing = np.diag(products).copy(), products.dtype.type(0)
    for row in range(len(products)):
        for column in range(len(products)):
            found = (norms[row] + norms[column]) - (products[row, column] + products[row, column])
            products[row, column] = nothing if found < 0 else found
        if not squared:
            for column in range(len(products)):
                products[row, column] = np.sqrt(products[row, column])


@_compiled
def pull_weights(slope: Floats, root: Floats, scale: float, weights: Floats) -> None:
    """The matrix whose product with the rows is a gradient: of a value with that ``slope`` for each distance
    ``root``, times ``scale``.

    A ``root`` without entries stands for squared distances. Where a distance is zero, so is its pull.
    """
    # Numbers of the matrix's own type: others would widen the arithmetic.
    nothing, factor = slope.dtype.type(0), slope.dtype.type(-scale if len(root) else -2 * scale)
    for row in range(len(slope)):
        if len(root):
            for column in range(len(slope)):
                quotient = factor * slope[row, column] / root[row, column]
                weights[row, column] = nothing if root[row, column] == 0 else quotient
        else:
            for column in range(len(slope)):
                weights[row, column] = factor * slope[row, column]
    for top in range(0, len(slope), _TILE):
        for left in range(0, top + 1, _TILE):
            for row in range(top, min(top + _TILE, len(slope))):
                for column in range(left, min(left + _TILE, row)):
                    both = weights[row, column] + weights[column, row]
                    weights[row, column] = weights[column, row] = both
    for row in range(len(slope)):
        weights[row, row] = nothing
        weights[row, row] = -_sum(weights[row])


@_compiled
def pair_sums(matrix: Floats, members: Ints, sizes: Ints) -> tuple[float, float]:
    """Sums of the entries within the groups, and of all others."""
    inside = 0.0
    for own in range(len(sizes)):
        for i in range(sizes[own]):
            for j in range(sizes[own]):
                inside += matrix[members[own, i], members[own, j]]
    return inside, sum_of(matrix) - inside


@_compiled
def triplet_sums(
    matrix: Floats, near: Floats, margin: float, members: Ints, sizes: Ints, group: Ints, slope: Floats
) -> tuple[float, int]:
    """Sum of the hinges ``[matrix(a, p) - (near(a, n) - margin)]+`` over all triplets, and how many are
    positive.
    """
    values, above = np.empty_like(near[0]), np.empty(len(near), np.int32)
    thresholds, below = np.empty(members.shape[1], near.dtype), np.empty(members.shape[1], np.int32)
    total, active = 0.0, 0
    for anchor in range(len(matrix)):
        own = members[group[anchor], : sizes[group[anchor]]]
        _negatives(near[anchor], margin, own, values)
        for k in range(len(own)):
            thresholds[k] = matrix[anchor, own[k]] if own[k] != anchor else -_OUT_OF_REACH
        above[:], below[:] = 0, 0
        _count(thresholds[: len(own)], values, above, below)
        for m in range(len(above)):
            slope[anchor, m] = -above[m]
        total -= _inner(above, values)
        for k in range(len(own)):
            slope[anchor, own[k]] = below[k]
            total += below[k] * np.float64(thresholds[k])
            active += below[k]
    return total, active


@_compiled
def quadruplet_sums(
    matrix: Floats, margin: float, members: Ints, sizes: Ints, group: Ints, slope: Floats
) -> tuple[float, int]:
    """Sum of ``[matrix(i, j) - matrix(l, k) + margin]+`` over all pairs i < j of one group and l < k of two
    others, and how many are positive. ``matrix`` is symmetric; of each pair the upper entry gets the slope.
    """
    pairs, start = _positive_pairs(members, sizes)
    thresholds = np.empty(len(pairs), matrix.dtype)
    for place in range(len(pairs)):
        thresholds[place] = matrix[pairs[place, 0], pairs[place, 1]] + margin
    # A negative pair that shares the group of the positive one makes a triplet and no quadruplet: at (l, k)
    # those of l's group are counted and at (k, l) those of k's, to be taken out again.
    above, below = np.zeros(matrix.shape, np.int32), np.zeros(len(pairs), np.int32)
    values = np.empty_like(matrix[0])
    for row in range(len(matrix)):
        own = group[row]
        _negatives(matrix[row], 0.0, members[own, : sizes[own]], values)
        _count(
            thresholds[start[own] : start[own + 1]], values, above[row], below[start[own] : start[own + 1]]
        )
    order = np.argsort(thresholds)
    ascending = thresholds[order]
    first, low, scale = _grid(ascending)
    ranks = np.zeros(len(pairs) + 1, np.int64)  # how many negative pairs exceed so many thresholds
    total, active = 0.0, 0
    slope[:] = 0
    for row in range(len(matrix)):
        for column in range(row + 1, len(matrix)):
            if group[row] == group[column]:
                continue
            rank = _rank(matrix[row, column], ascending, first, low, scale)
            ranks[rank] += 1
            number = len(pairs) - rank - above[row, column] - above[column, row]
            slope[row, column] = -number
            total -= number * np.float64(matrix[row, column])
    lower = 0
    for rank in range(len(pairs)):
        lower += ranks[rank]
        place = order[rank]
        pushes = lower - below[place]
        left, right = pairs[place, 0], pairs[place, 1]
        slope[min(left, right), max(left, right)] = pushes
        total += pushes * np.float64(ascending[rank])
        active += pushes
    return total, active


@_compiled
def _negatives(row: Floats, margin: float, own: Ints, values: Floats) -> None:
    """``row`` less the margin into ``values``, its entries of the own group out of reach."""
    less = row.dtype.type(margin)
    for m in range(len(row)):
        values[m] = row[m] - less
    for k in range(len(own)):
        values[own[k]] = _OUT_OF_REACH


@_compiled
def _count(thresholds: Floats, values: Floats, above: Counts, below: Counts) -> None:
    """Add to ``above`` (M,) how many thresholds exceed each value, and to ``below`` (N,) how many values lie
    below each threshold.
    """
    for place in range(len(thresholds)):
        threshold, count = thresholds[place], np.int32(0)
        for m in range(len(values)):
            hit = np.int32(values[m] < threshold)
            above[m] += hit
            count += hit
        below[place] += count


@_compiled_sum
def _sum(values: Floats) -> float:
    total = 0.0
    for m in range(len(values)):
        total += np.float64(values[m])
    return total


@_compiled_sum
def _inner(counts: Counts, values: Floats) -> float:
    total = 0.0
    for m in range(len(counts)):
        total += counts[m] * np.float64(values[m])
    return total


@_compiled
def _positive_pairs(members: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """All pairs of rows of one group (N, 2), and where each group's begin (P + 1,)."""
    start = np.zeros(len(sizes) + 1, np.int64)
    for own in range(len(sizes)):
        start[own + 1] = start[own] + sizes[own] * (sizes[own] - 1) // 2
    pairs = np.empty((start[-1], 2), np.int64)
    place = 0
    for own in range(len(sizes)):
        for j in range(sizes[own]):
            for i in range(j):
                pairs[place] = members[own, i], members[own, j]
                place += 1
    return pairs, start


@_compiled
def _grid(ascending: Floats) -> tuple[Counts, float, float]:
    """An even grid over ascending numbers: at which of them each cell begins, and the low end and scale that
    :func:`_cell` takes.
    """
    cells = 16 * len(ascending)
    first = np.full(cells + 1, len(ascending), np.int32)
    if not len(ascending):
        return first, 0.0, 0.0
    low = np.float64(ascending[0])
    span = np.float64(ascending[-1]) - low
    scale = (cells - 1) / span if span > 0 else 0.0
    next_cell = 0
    for place in range(len(ascending)):
        cell = _cell(ascending[place], low, scale, cells)
        while next_cell <= cell:
            first[next_cell] = place
            next_cell += 1
    return first, low, scale


@_compiled
def _cell(value: float, low: float, scale: float, cells: int) -> int:
    # Monotone in the value, an infinite scale included, so that only inside a cell there is anything left to
    # compare.
    place = (np.float64(value) - low) * scale
    if not place > 0:
        return 0
    return int(place) if place < cells - 1 else cells - 1


@_compiled
def _rank(value: float, ascending: Floats, first: Counts, low: float, scale: float) -> int:
    """How many of ``ascending`` do not exceed ``value``."""
    cells = len(first) - 1
    if not cells:
        return 0
    cell = _cell(value, low, scale, cells)
    begin, end = first[cell], first[cell + 1]
    while begin < end:
        middle = (begin + end) // 2
        if ascending[middle] <= value:
            begin = middle + 1
        else:
            end = middle
    return begin
