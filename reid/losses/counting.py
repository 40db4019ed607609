"""How many thresholds exceed each of very many values, and the reverse: all that a sum of hinges and its gradient need."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["count_exceeding"]

_IN_CACHE = 1 << 18  # numbers in a working array
_FEW = 12  # up to here one pass over the values for every threshold is the fastest
_CROWDED = 12  # with more thresholds than this in one cell, a search by halving is faster than the grid


def count_exceeding(thresholds: Tensor, values: Tensor, row: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compare every value with all thresholds of its row.

    Args:
        thresholds: (R, N); -inf pads rows that have fewer.
        values: (B, M), finite.
        row: (B,) int64, which row of the thresholds holds for a row of values; None where R = B and each has its own.

    Returns:
        (B, M) the number of thresholds above each value, and (R, N) the number of values below each threshold, both floating.
    """
    if thresholds.shape[1] <= _FEW:
        return _by_passes(thresholds, values, row)
    if row is None:
        row = torch.arange(len(values), device=values.device)
    ascending, order = thresholds.sort(1)
    grid = _Grid.over(ascending)
    number = _by_halving(ascending, values, row) if grid.crowd > _CROWDED else _by_grid(grid, values, row)
    below = _values_below(number, ascending, row)
    return number, torch.empty_like(below).scatter_(1, order, below)


def _by_passes(thresholds: Tensor, values: Tensor, row: Tensor | None) -> tuple[Tensor, Tensor]:
    number = torch.zeros_like(values)
    each = thresholds if row is None else thresholds.index_select(0, row)
    sums = torch.empty_like(each)
    step = max(1, min(each.shape[1], _IN_CACHE // max(1, values.numel())))
    # One working array for all passes: new ones of this size cost more in page faults than the comparison itself.
    working = values.new_empty(len(values), step, values.shape[1])
    for start in range(0, each.shape[1], step):
        part = each[:, start : start + step, None]
        below = working[:, : part.shape[1]]
        # A comparison written into floats vectorises; a bool result that is added up afterwards takes five times as long.
        torch.lt(values[:, None, :], part, out=below)
        sums[:, start : start + step] = below.sum(2)
        number = below.sum(1) if start == 0 else number.add_(below[:, 0] if part.shape[1] == 1 else below.sum(1))
    return number, sums if row is None else torch.zeros_like(thresholds).index_add_(0, row, sums)


class _Grid(NamedTuple):
    """An even grid over the span of each row of thresholds. The cell of a number is monotone in it, so that only inside a cell there is
    anything left to compare; ``crowd`` is the most thresholds in one cell.
    """

    low: Tensor  # (R, 1)
    scale: Tensor  # (R, 1)
    beyond: Tensor  # (R, cells): thresholds in higher cells
    inside: Tensor  # (crowd, R, cells): thresholds in the cell, -inf where there are fewer
    crowd: int

    @classmethod
    def over(cls, thresholds: Tensor) -> "_Grid":
        """Lay a grid over (R, N) ascending thresholds."""
        rows, count = thresholds.shape
        cells = 1 << (16 * count).bit_length()
        finite = thresholds > -torch.inf
        low = torch.where(finite, thresholds, torch.inf).amin(1, keepdim=True).nan_to_num(posinf=0.0)
        span = thresholds[:, -1:] - low
        # A span of nothing, or of so little that its inverse overflows, becomes one cell.
        scale = ((cells - 1) / span).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        cell = ((thresholds.clamp_min(low) - low) * scale).clamp_(0, cells - 1).long()
        # Rows ascend, so a cell's thresholds are neighbours; the padding comes first and so gets the highest ranks of the first cell.
        rank = torch.searchsorted(cell, cell, right=True) - 1 - torch.arange(count, device=cell.device)
        crowd = int(rank[finite].max()) + 1 if bool(finite.any()) else 1
        if crowd > _CROWDED:
            return cls(low, scale, thresholds.new_empty(0), thresholds.new_empty(0), crowd)
        held = torch.zeros(rows, cells, dtype=thresholds.dtype, device=cell.device).scatter_add_(1, cell, finite.to(thresholds.dtype))
        inside = thresholds.new_full((crowd, rows, cells), -torch.inf)
        of_row = torch.arange(rows, device=cell.device)[:, None].expand_as(cell)
        inside[rank[finite], of_row[finite], cell[finite]] = thresholds[finite]
        return cls(low, scale, held.sum(1, keepdim=True) - held.cumsum(1), inside, crowd)


def _by_grid(grid: _Grid, values: Tensor, row: Tensor) -> Tensor:
    cells = grid.beyond.shape[1]
    cell = (values - grid.low[row]).mul_(grid.scale[row]).clamp_(0, cells - 1).int()
    place = cell.add_((row * cells).int()[:, None]).flatten()
    number = grid.beyond.flatten().index_select(0, place)
    working, flat = torch.empty_like(number), values.flatten()
    for inside in grid.inside:
        torch.index_select(inside.flatten(), 0, place, out=working)
        number += torch.gt(working, flat, out=working)
    return number.view_as(values)


def _by_halving(thresholds: Tensor, values: Tensor, row: Tensor) -> Tensor:
    return thresholds.shape[1] - torch.searchsorted(thresholds.index_select(0, row), values, right=True).to(values.dtype)


def _values_below(number: Tensor, thresholds: Tensor, row: Tensor) -> Tensor:
    """A value lies below as many of the highest thresholds as exceed it: one histogram and a running sum count them for every threshold."""
    width = thresholds.shape[1] + 1
    bins = torch.rsub(number, width - 1).int().add_((row * width).int()[:, None])
    histogram = torch.bincount(bins.flatten(), minlength=len(thresholds) * width).view(len(thresholds), width)
    return histogram.cumsum(1)[:, :-1].to(thresholds.dtype)
