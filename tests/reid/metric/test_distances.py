import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.metric.distances import (
    function_of_distances,
    paired_distances,
    pairwise_distances,
    safe_sqrt,
    squared_distances,
    unit_rows,
)


def points(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, dim)))


def naive(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[float(((a - b) ** 2).sum()) for b in y] for a in x], dtype=torch.float64)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_all_pairs_equal_the_loops(n, m, dim, seed):
    x, y = points(n, dim, seed), points(m, dim, seed + 1)
    torch.testing.assert_close(squared_distances(x, y), naive(x, y))
    torch.testing.assert_close(pairwise_distances(x, y), naive(x, y).sqrt())
    torch.testing.assert_close(pairwise_distances(x), naive(x, x).sqrt(), atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(paired_distances(x, x.flip(0)), naive(x, x.flip(0)).diagonal().sqrt())


def test_a_set_with_itself_is_symmetric_with_a_zero_diagonal():
    matrix = pairwise_distances(points(20, 6).float())
    assert torch.equal(matrix.diagonal(), torch.zeros(20))
    torch.testing.assert_close(matrix, matrix.T)


@pytest.mark.parametrize("squared", [True, False])
def test_gradients(squared):
    x, y = points(5, 3).requires_grad_(), points(4, 3, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: pairwise_distances(a, squared=squared), (x,))
    assert torch.autograd.gradcheck(lambda a, b: pairwise_distances(a, b, squared=squared), (x, y))
    assert torch.autograd.gradcheck(lambda a, b: paired_distances(a[:4], b, squared=squared), (x, y))
    # A gradient that is not symmetric must reach both rows of a pair.
    weight = points(5, 5, 2)
    assert torch.autograd.gradcheck(lambda a: (pairwise_distances(a, squared=squared) * weight).sum(), (x,))


@pytest.mark.parametrize("squared", [True, False])
def test_a_function_of_distances_has_the_gradient_that_its_rule_gives(squared):
    x, weight = points(6, 3).requires_grad_(), points(6, 6, 2)
    x.data[1] = x.data[0]  # no gradient between equal rows

    def rule(matrix):
        return (matrix * weight).sum(), weight, matrix.max()

    value, farthest = function_of_distances(x, rule, squared=squared)
    (3 * value).backward()
    whole = x.detach().clone().requires_grad_()
    matrix = pairwise_distances(whole, squared=squared)
    (3 * matrix * weight).sum().backward()
    assert float(value) == pytest.approx(float((matrix * weight).sum()))
    assert float(farthest) == pytest.approx(float(matrix.max()))
    assert not farthest.requires_grad
    torch.testing.assert_close(x.grad, whole.grad)


@pytest.mark.parametrize("squared", [True, False])
def test_the_gradient_is_the_sum_of_every_pairs(squared):
    """Between equal rows there is none."""
    x, weight = points(7, 3), points(7, 7, 2)
    x[1] = x[0]
    expected = torch.zeros_like(x)
    for i in range(7):
        for j in range(7):
            apart = x[i] - x[j]
            by_one = 2 * apart if squared else apart / (apart.norm() if apart.any() else 1)
            expected[i] += weight[i, j] * by_one
            expected[j] -= weight[i, j] * by_one
    x.requires_grad_()
    (pairwise_distances(x, squared=squared) * weight).sum().backward()
    torch.testing.assert_close(x.grad, expected)


def test_the_square_root_has_no_gradient_at_zero():
    x = torch.tensor([0.0, -1e-9, 4.0], requires_grad=True)
    root = safe_sqrt(x)
    root.sum().backward()
    assert root.tolist() == [0.0, 0.0, 2.0]
    assert x.grad.tolist() == [0.0, 0.0, 0.25]


def test_equal_rows_have_finite_gradients():
    for rows in (torch.zeros(4, 3), torch.full((4, 3), 1e4), torch.full((4, 3), 1e-30)):
        x = rows.requires_grad_()
        (
            pairwise_distances(x).sum() + pairwise_distances(x, x).sum() + paired_distances(x, x).sum()
        ).backward()
        assert torch.isfinite(x.grad).all()


def test_points_far_from_the_origin_lose_no_digits():
    near = points(12, 8).float()
    torch.testing.assert_close(
        pairwise_distances(near + 1000.0),
        pairwise_distances(near.double() + 1000.0).float(),
        atol=1e-3,
        rtol=1e-3,
    )


def test_unit_rows():
    x = points(6, 3).requires_grad_()
    torch.testing.assert_close(
        unit_rows(x).detach(), torch.stack([row / (row * row).sum().sqrt() for row in x.detach()])
    )
    assert torch.autograd.gradcheck(unit_rows, (x,))
    zero = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    (unit_rows(zero) * torch.tensor([1.0, 2.0])).sum().backward()
    assert unit_rows(zero).tolist() == [[0.0, 0.0], [pytest.approx(0.6), pytest.approx(0.8)]]
    assert zero.grad[0].tolist() == [0.0, 0.0]
    assert unit_rows(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_and_autocast_ignored(dtype):
    x = points(6, 64).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        matrix, half = pairwise_distances(x), pairwise_distances(x.to(dtype))
        pair = paired_distances(x.to(dtype), x.flip(0).to(dtype))
        between = pairwise_distances(x, x[:3])
    assert matrix.dtype == half.dtype == pair.dtype == between.dtype == torch.float32
    torch.testing.assert_close(matrix, pairwise_distances(x))
    torch.testing.assert_close(between, pairwise_distances(x, x[:3]))
    assert pairwise_distances(x.double()).dtype == torch.float64
