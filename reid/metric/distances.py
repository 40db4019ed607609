"""Distances between embeddings, exact enough to train on.

Everything here is computed in float32 or wider whatever autocast says, and has a finite gradient everywhere:
that of a distance at zero is zero.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "full_precision",
    "function_of_distances",
    "paired_distances",
    "pairwise_distances",
    "safe_sqrt",
    "squared_distances",
    "unit_rows",
    "widen",
]

_NO_LENGTH = 1e-12

Rule = Callable[[Tensor], tuple[Tensor, ...]]


@contextmanager
def full_precision(reference: Tensor) -> Iterator[None]:
    """Turn autocast off for the device of ``reference``."""
    if not torch.is_autocast_enabled(reference.device.type):
        yield
        return
    with torch.autocast(reference.device.type, enabled=False):
        yield


def widen(embeddings: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay."""
    return embeddings.float() if embeddings.dtype in (torch.float16, torch.bfloat16) else embeddings


def _inverse(root: Tensor) -> Tensor:
    """``1 / root``; 0 at 0. By arithmetic, since a selection takes many times as long."""
    return root / (root * root).clamp_min_(torch.finfo(root.dtype).tiny)


class _SafeSqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, squared: Tensor) -> Tensor:
        root = squared.clamp_min(0).sqrt_()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        return gradient * (0.5 * _inverse(root))


def safe_sqrt(squared: Tensor) -> Tensor:
    """Square root of ``squared`` clamped at zero; where that is zero the gradient is zero, never NaN."""
    return _SafeSqrt.apply(squared)


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        inverse = torch.where(norm > _NO_LENGTH, 1 / norm, 0.0)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        unit, inverse = ctx.saved_tensors
        along = (gradient * unit).sum(1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1.0).mul_(inverse)


def unit_rows(x: Tensor) -> Tensor:
    """L2-normalise the rows of ``x`` (N, D), at least in float32. A row without length stays zero and has a
    gradient of zero.
    """
    with full_precision(x):
        return _UnitRows.apply(widen(x))


def _centred_distances(x: Tensor, squared: bool) -> tuple[Tensor, Tensor]:
    """The rows of ``x`` (N, D) moved so that their mean is the origin, and their distances (N, N)."""
    # Distances do not change when the set moves, and near the origin the expanded square
    # |x|^2 + |y|^2 - 2 x y loses fewer digits.
    x = x - x.mean(0)
    products = x @ x.T
    norms = products.diagonal().clone()
    # In place: the matrix is as large as all others of a loss, and memory is what a step waits for.
    matrix = products.mul_(-2.0).add_(norms[:, None] + norms).clamp_min_(0)
    return x, matrix if squared else matrix.sqrt_()


def _grad_to_rows(x: Tensor, grad: Tensor, root: Tensor | None) -> Tensor:
    """Gradient for ``x`` (N, D) of a value whose gradient for the distances ``root`` of its rows (their
    squares where None) is ``grad`` (N, N).

    It is ``sum_j (g_ij + g_ji) (x_i - x_j) / root_ij``, and twice as much without the root: one product with
    the sums on the diagonal.
    """
    weight = (-2.0 if root is None else -_inverse(root)) * grad
    weights = weight.T.contiguous().add_(weight)
    weights.diagonal().sub_(weights.sum(1))
    return weights @ x


class _SelfDistances(torch.autograd.Function):
    """All distances inside one set. The matrix is symmetric, so one product serves the backward pass where
    autograd takes two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, squared: bool) -> Tensor:
        x, matrix = _centred_distances(x, squared)
        ctx.save_for_backward(x, *(() if squared else (matrix,)))
        return matrix

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, *root = ctx.saved_tensors
        return _grad_to_rows(x, gradient, root[0] if root else None), None


class _OfDistances(torch.autograd.Function):
    """What :func:`function_of_distances` returns, as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, squared: bool, rule: Rule, others: list[Tensor]) -> Tensor:
        x, matrix = _centred_distances(x, squared)
        value, grad, *rest = rule(matrix)
        ctx.save_for_backward(x, grad, *(() if squared else (matrix,)))
        others += rest
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        x, grad, *root = ctx.saved_tensors
        return _grad_to_rows(x, grad * gradient, root[0] if root else None), None, None, None


def function_of_distances(x: Tensor, rule: Rule, *, squared: bool = False) -> tuple[Tensor, ...]:
    """A value made of the distances inside ``x`` (N, D) whose gradient is found along with it, at less than
    half the cost of two steps.

    Args:
        x: (N, D).
        rule: takes the matrix (N, N) of :func:`pairwise_distances`; returns the 0-d value, its gradient
            (N, N), and anything else that is worth returning. It must not keep or change the matrix.
        squared: squared distances.

    Returns:
        The value, differentiable once, and the rest without gradient.
    """
    others: list[Tensor] = []
    with full_precision(x):
        value = _OfDistances.apply(widen(x), squared, rule, others)
    return value, *others


def squared_distances(x: Tensor, y: Tensor | None = None) -> Tensor:
    """:func:`pairwise_distances` with ``squared=True``."""
    return pairwise_distances(x, y, squared=True)


def pairwise_distances(x: Tensor, y: Tensor | None = None, *, squared: bool = False) -> Tensor:
    """Euclidean distances, or their squares, of every row of ``x`` (N, D) to every row of ``y`` (M, D), or of
    ``x`` to itself.

    Returns:
        (N, M), at least float32. The diagonal of a set with itself is exactly zero.
    """
    with full_precision(x):
        x = widen(x)
        if y is None:
            return _SelfDistances.apply(x, squared)
        centre = x.detach().mean(0)
        x, y = x - centre, widen(y) - centre
        matrix = (x * x).sum(1, keepdim=True) + (y * y).sum(1) - 2 * x @ y.T
        return matrix.clamp_min(0) if squared else safe_sqrt(matrix)


def paired_distances(x: Tensor, y: Tensor, *, squared: bool = False) -> Tensor:
    """Euclidean distances (N,), or their squares, of row i of ``x`` (N, D) to row i of ``y`` (N, D), from the
    difference itself.
    """
    with full_precision(x):
        difference = widen(x) - widen(y)
        total = (difference * difference).sum(1)
        return total if squared else safe_sqrt(total)
