"""Hinge sums and their gradients, found by counting, against every triplet and quadruplet."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.losses.hinge_sums import (
    quadruplet_hinge,
    quadruplet_hinge_and_grad,
    triplet_hinge,
    triplet_hinge_and_grad,
)
from reid.metric.mining import Groups
from tests.reid.losses.naive import any_labels, quadruplets, seeds, triplets


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


kinds = st.sampled_from(["even", "ties", "equal", "far"])


def every_triplet(matrix, labels, margin):
    """Sum of the hinges, number of the positive ones, and gradient, one triplet after the other."""
    total, active, grad = 0.0, 0, torch.zeros_like(matrix)
    for a, p, n in triplets(labels):
        gap = float(matrix[a, p] - (matrix[a, n] - margin))
        if gap > 0:
            total, active = total + gap, active + 1
            grad[a, p] += 1
            grad[a, n] -= 1
    return total, active, grad


def every_quadruplet(matrix, labels, margin):
    total, active, grad = 0.0, 0, torch.zeros_like(matrix)
    for i, j, left, right in quadruplets(labels):
        gap = float((matrix[i, j] + margin) - matrix[left, right])
        if i < j and left < right and gap > 0:
            total, active = total + gap, active + 1
            grad[i, j] += 1
            grad[left, right] -= 1
    return total, active, grad


def check(found, wanted):
    wanted_total, wanted_active, wanted_grad = wanted
    assert float(found.active) == wanted_active
    assert float(found.total) == pytest.approx(wanted_total, rel=1e-5, abs=1e-9)
    # of a symmetric matrix only the sum of both places counts
    assert (found.grad + found.grad.T).equal(wanted_grad + wanted_grad.T)


# Quarters are exact in both ways of subtracting a margin, so that ties fall alike.
@given(any_labels, seeds, kinds, st.sampled_from([0.0, 0.25, 1.0, 1.25]))
@settings(deadline=None, max_examples=100)
def test_sums_and_gradients_are_those_of_the_single_hinges(y, seed, kind, margin):
    matrix, groups = distances(len(y), seed, kind), Groups.of(torch.tensor(y))
    check(triplet_hinge_and_grad(matrix, margin, groups), every_triplet(matrix, y, margin))
    found = quadruplet_hinge_and_grad(matrix, torch.tensor(margin, dtype=matrix.dtype), groups)
    check(found, every_quadruplet(matrix, y, margin))


@pytest.mark.parametrize("kind", ["even", "ties", "far"])
def test_the_triplets_of_a_large_batch_are_counted_exactly(kind):
    """Against tensors with one entry for each."""
    labels = torch.arange(40).repeat_interleave(torch.arange(40) % 5 + 1)
    matrix, margin = distances(len(labels), 3, kind), 0.25
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool)
    gap = matrix[:, :, None] - (matrix[:, None, :] - margin)
    pushes = (gap > 0) & positive[:, :, None] & ~same[:, None, :]
    found = triplet_hinge_and_grad(matrix, margin, Groups.of(labels))
    assert float(found.active) == int(pushes.sum()) > 0
    assert float(found.total) == pytest.approx(float(gap[pushes].sum()), rel=1e-9)
    assert found.grad.equal((pushes.sum(2) - pushes.sum(1)).to(found.grad.dtype))


@pytest.mark.parametrize("kind", ["even", "ties", "far"])
def test_the_quadruplets_of_a_large_batch_are_counted_exactly(kind):
    """Against a matrix of all positive pairs and all negative pairs."""
    labels = torch.arange(24).repeat_interleave(torch.arange(24) % 4 + 1)
    matrix, margin = distances(len(labels), 3, kind), torch.tensor(0.25, dtype=torch.float64)
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    near = labels[first] == labels[second]
    i, j, left, right = first[near], second[near], first[~near], second[~near]
    foreign = (labels[i][:, None] != labels[left]) & (labels[i][:, None] != labels[right])
    gap = (matrix[i, j] + margin)[:, None] - matrix[left, right]
    pushes = (gap > 0) & foreign
    grad = torch.zeros_like(matrix)
    grad[i, j] = pushes.sum(1).to(grad.dtype)
    grad[left, right] = -pushes.sum(0).to(grad.dtype)
    found = quadruplet_hinge_and_grad(matrix, margin, Groups.of(labels))
    assert float(found.active) == int(pushes.sum()) > 0
    assert float(found.total) == pytest.approx(float(gap[pushes].sum()), rel=1e-9)
    assert (found.grad + found.grad.T).equal(grad + grad.T)


@pytest.mark.parametrize("spread", [5e-324, 1e-310, 1e30])
def test_distances_that_are_tiny_or_far_apart(spread):
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    matrix = torch.zeros(9, 9, dtype=torch.float64)
    matrix[0, 1] = matrix[1, 0] = spread
    groups = Groups.of(torch.tensor(labels))
    found = quadruplet_hinge_and_grad(matrix, torch.tensor(0.0, dtype=torch.float64), groups)
    check(found, every_quadruplet(matrix, labels, 0.0))


def test_infinite_distances_are_seen_in_the_sum():
    """Finite embeddings can lie so far apart that their distance overflows."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    matrix = distances(6, 0, "even").float()
    matrix[0, 1] = matrix[1, 0] = matrix[2, 4] = matrix[4, 2] = torch.inf
    groups = Groups.of(labels)
    assert not triplet_hinge(matrix, 0.3, groups).total.isfinite()
    assert not quadruplet_hinge(matrix, torch.tensor(0.3), groups).total.isfinite()
