"""The compiled loops of a CPU against the tensor operations that other devices take, and both against every
triplet and quadruplet.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.losses import hinge_sums
from reid.losses.hinge_sums import quadruplet_hinge, triplet_hinge
from reid.metric.mining import Groups
from tests.reid.losses.naive import any_labels, quadruplets, seeds, triplets

WAYS = {
    "cpu": (hinge_sums.sloped_hinge, hinge_sums._sloped_quadruplets),
    "elsewhere": (hinge_sums._triplets_by_tensors, hinge_sums._quadruplets_by_tensors),
}


def distances(rows, seed, kind):
    """(B, B) float64 symmetric with a zero diagonal; whole numbers make ties, and a far pair crowds all
    others into one cell.
    """
    values = torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4
    values = values.round() if kind == "ties" else torch.ones_like(values) if kind == "equal" else values
    values = values.triu(1) + values.triu(1).T
    if kind == "far" and rows > 1:
        values[0, 1] = values[1, 0] = 1e6
    return values


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


kinds = st.sampled_from(["even", "ties", "equal", "far"])


def every_triplet(matrix, labels, margin):
    """Sum of the hinges, number of the positive ones, and slope, one triplet after the other."""
    total, active, slope = 0.0, 0, torch.zeros_like(matrix)
    for a, p, n in triplets(labels):
        gap = float(matrix[a, p] - (matrix[a, n] - margin))
        if gap > 0:
            total, active = total + gap, active + 1
            slope[a, p] += 1
            slope[a, n] -= 1
    return total, active, slope


def every_quadruplet(matrix, labels, margin):
    total, active, slope = 0.0, 0, torch.zeros_like(matrix)
    for i, j, left, right in quadruplets(labels):
        gap = float((matrix[i, j] + margin) - matrix[left, right])
        if i < j and left < right and gap > 0:
            total, active = total + gap, active + 1
            slope[i, j] += 1
            slope[left, right] -= 1
    return total, active, slope


def check(found, wanted):
    (total, slope, active), (wanted_total, wanted_active, wanted_slope) = found, wanted
    assert float(active) == wanted_active
    assert float(total) == pytest.approx(wanted_total, rel=1e-5, abs=1e-9)
    # of a symmetric matrix only the sum of both places counts
    assert (slope + slope.T).equal(wanted_slope + wanted_slope.T)


# Quarters are exact in both ways of subtracting a margin, so that ties fall alike.
@given(any_labels, seeds, kinds, st.sampled_from([0.0, 0.25, 1.0, 1.25]))
@settings(deadline=None, max_examples=100)
def check_every_batch(way, y, seed, kind, margin):
    matrix, groups = distances(len(y), seed, kind), Groups.of(torch.tensor(y))
    check(way[0](matrix, margin, groups), every_triplet(matrix, y, margin))
    check(
        way[1](matrix, torch.tensor(margin, dtype=matrix.dtype), groups), every_quadruplet(matrix, y, margin)
    )


def test_sums_and_slopes_are_those_of_the_single_hinges(way):
    check_every_batch(way)


@pytest.mark.parametrize("kind", ["even", "ties", "far"])
@pytest.mark.parametrize("name", [0, 1])
def test_a_large_batch_counts_alike_both_ways(kind, name):
    labels = torch.arange(40).repeat_interleave(torch.arange(40) % 5 + 1)
    matrix, groups, margin = (
        distances(len(labels), 3, kind),
        Groups.of(labels),
        torch.tensor(0.25, dtype=torch.float64),
    )
    cpu, elsewhere = (
        WAYS["cpu"][name](matrix, margin, groups),
        WAYS["elsewhere"][name](matrix, margin, groups),
    )
    assert cpu[2] == elsewhere[2] > 0
    assert float(cpu[0]) == pytest.approx(float(elsewhere[0]), rel=1e-9)
    assert (cpu[1] + cpu[1].T).equal(elsewhere[1] + elsewhere[1].T)


@pytest.mark.parametrize("spread", [5e-324, 1e-310, 1e30])
def test_distances_so_near_or_far_that_a_grid_over_them_degenerates(way, spread):
    """The inverse of such a span overflows, or most distances share one cell of it."""
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    matrix = torch.zeros(9, 9, dtype=torch.float64)
    matrix[0, 1] = matrix[1, 0] = spread
    groups = Groups.of(torch.tensor(labels))
    check(
        way[1](matrix, torch.tensor(0.0, dtype=torch.float64), groups), every_quadruplet(matrix, labels, 0.0)
    )


def test_infinite_distances_are_seen_in_the_sum():
    """Finite embeddings can lie so far apart that their distance overflows."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    matrix = distances(6, 0, "even").float()
    matrix[0, 1] = matrix[1, 0] = matrix[2, 4] = matrix[4, 2] = torch.inf
    groups = Groups.of(labels)
    assert not triplet_hinge(matrix, 0.3, groups).total.isfinite()
    assert not quadruplet_hinge(matrix, torch.tensor(0.3), groups).total.isfinite()
