"""The objectives as loops over float64 numbers, written from the formulas: the reference of the tests."""

from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def distances(x: Array, squared: bool) -> list[list[float]]:
    out = [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in x.tolist()] for p in x.tolist()]
    return out if squared else [[value**0.5 for value in row] for row in out]


def unit(x: Array) -> Array:
    return np.stack([row / np.sqrt((row**2).sum()) for row in x])


def hinge(value: float) -> float:
    return max(0.0, value)


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def active_mean(values: Iterable[float]) -> float:
    return mean(value for value in values if value > 0)


def triplets(y: list[int]) -> list[tuple[int, int, int]]:
    n = range(len(y))
    return [(a, p, k) for a, p, k in product(n, n, n) if a != p and y[a] == y[p] and y[a] != y[k]]


def quadruplets(y: list[int]) -> list[tuple[int, int, int, int]]:
    n = range(len(y))
    return [(i, j, m, k) for i, j, m, k in product(n, n, n, n) if i != j and y[i] == y[j] and len({y[i], y[m], y[k]}) == 3]


def batch_hard(x: Array, y: list[int], cost: Callable[[float], float], squared: bool = False) -> float:
    d = distances(x, squared)
    values = []
    for a in range(len(y)):
        positives = [d[a][p] for p in range(len(y)) if p != a and y[p] == y[a]]
        negatives = [d[a][n] for n in range(len(y)) if y[n] != y[a]]
        if positives and negatives:
            values.append(cost(max(positives) - min(negatives)))
    return mean(values)


def quadruplet(
    g_sq: list[list[float]], y: list[int], a1: float, a2: float, average: Callable[[Iterable[float]], float]
) -> tuple[float, float]:
    first = average([hinge(g_sq[i][j] - g_sq[i][k] + a1) for i, j, k in triplets(y)])
    second = average([hinge(g_sq[i][j] - g_sq[m][k] + a2) for i, j, m, k in quadruplets(y)])
    return first, second


def pair_means(d: list[list[float]], y: list[int]) -> tuple[float, float]:
    n = range(len(y))
    positive = mean(d[i][j] for i, j in product(n, n) if i != j and y[i] == y[j])
    return positive, mean(d[i][j] for i, j in product(n, n) if y[i] != y[j])


def hierarchical(
    x: Array, y: list[int], thresholds: list[float], merge: Callable[[int, int], int], intra: list[float], beta: float, squared: bool
) -> float:
    d = distances(unit(x), squared)
    values = [hinge(d[a][p] - d[a][n] + beta + thresholds[merge(y[a], y[n])] - intra[y[a]]) for a, p, n in triplets(y)]
    return mean(values) / 2
