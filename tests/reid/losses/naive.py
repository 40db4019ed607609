"""The objectives as loops over float64 numbers, written from the formulas: the reference of the tests."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st

Array = npt.NDArray[np.float64]
Matrix = Sequence[Sequence[float]]

# Any integers may be labels; few different ones make every mixture of group sizes.
any_labels = st.lists(st.sampled_from([-7, 0, 1, 5, 10**12]), min_size=1, max_size=11)
seeds = st.integers(0, 999)


def embeddings(rows: int, seed: int, dim: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, dim)))


def distances(x: torch.Tensor, squared: bool) -> Matrix:
    out = [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in x.tolist()] for p in x.tolist()]
    return out if squared else [[math.sqrt(value) for value in row] for row in out]


def unit(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([row / float((row**2).sum()) ** 0.5 for row in x])


def hinge(value: float) -> float:
    return max(0.0, value)


def softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def active_mean(values: Iterable[float]) -> float:
    return mean(value for value in values if value > 0)


def candidates(y: Sequence[int], anchor: int) -> tuple[list[int], list[int]]:
    rows = range(len(y))
    return [p for p in rows if p != anchor and y[p] == y[anchor]], [n for n in rows if y[n] != y[anchor]]


def triplets(y: Sequence[int]) -> list[tuple[int, int, int]]:
    return [(a, p, n) for a in range(len(y)) for p in candidates(y, a)[0] for n in candidates(y, a)[1]]


def quadruplets(y: Sequence[int]) -> list[tuple[int, int, int, int]]:
    rows = range(len(y))
    positive = [(i, j) for i, j in product(rows, rows) if i != j and y[i] == y[j]]
    return [(i, j, m, k) for (i, j), m, k in product(positive, rows, rows) if len({y[i], y[m], y[k]}) == 3]


def pair_means(d: Matrix, y: Sequence[int]) -> tuple[float, float]:
    n = range(len(y))
    positive = mean(d[i][j] for i, j in product(n, n) if i != j and y[i] == y[j])
    return positive, mean(d[i][j] for i, j in product(n, n) if y[i] != y[j])


def batch_hard(d: Matrix, y: Sequence[int]) -> list[float]:
    """Hardest positive less nearest negative, of every anchor that has both."""
    gaps = []
    for a in range(len(y)):
        positives, negatives = candidates(y, a)
        if positives and negatives:
            gaps.append(max(d[a][p] for p in positives) - min(d[a][n] for n in negatives))
    return gaps


def semi_hard(d: Matrix, y: Sequence[int]) -> list[float]:
    """Positive less the nearest negative beyond it, of every positive pair that has one."""
    gaps = []
    for a in range(len(y)):
        positives, negatives = candidates(y, a)
        for p in positives:
            beyond = [d[a][n] for n in negatives if d[a][n] > d[a][p]]
            if beyond:
                gaps.append(d[a][p] - min(beyond))
    return gaps


def quadruplet(
    g_sq: Matrix, y: Sequence[int], a1: float, a2: float, average: Callable[[Iterable[float]], float] = mean
) -> tuple[float, float]:
    first = average([hinge(g_sq[i][j] - g_sq[i][k] + a1) for i, j, k in triplets(y)])
    return first, average([hinge(g_sq[i][j] - g_sq[m][k] + a2) for i, j, m, k in quadruplets(y)])


def hardest_quadruplet(g_sq: Matrix, y: Sequence[int], a1: float, a2: float) -> tuple[float, float]:
    first, second = [], []
    for a in range(len(y)):
        positives, negatives = candidates(y, a)
        if not positives or not negatives:
            continue
        hardest = max(g_sq[a][p] for p in positives)
        first.append(hinge(hardest - min(g_sq[a][n] for n in negatives) + a1))
        foreign = [g_sq[m][k] for m, k in product(negatives, negatives) if y[m] != y[k]]
        if foreign:
            second.append(hinge(hardest - min(foreign) + a2))
    return mean(first), mean(second)


def log_ratio(x: torch.Tensor, labels: Matrix, anchors: int, floor: float = 1e-6) -> float:
    d = distances(x, squared=True)
    wanted = distances(torch.tensor(labels, dtype=torch.float64), squared=False)
    values = []
    for a in range(anchors):
        others = [i for i in range(len(labels)) if i != a and wanted[a][i] > 0]
        for i, j in product(others, others):
            if i < j:
                ratio = math.log(max(d[a][i], floor) / max(d[a][j], floor))
                values.append((ratio - math.log(wanted[a][i] / wanted[a][j])) ** 2)
    return mean(values)


def nt_xent(z: torch.Tensor, y: Sequence[int], t: float) -> float:
    """Of each anchor the mean over its positives, of those the mean."""
    s = [[float(p @ q) / t for q in unit(z)] for p in unit(z)]
    anchors = []
    for i in range(len(y)):
        positives, negatives = candidates(y, i)
        below = sum(math.exp(s[i][k]) for k in (*positives, *negatives))
        if positives:
            anchors.append(mean(-math.log(math.exp(s[i][j]) / below) for j in positives))
    return mean(anchors)


def moco(
    q: torch.Tensor, k: torch.Tensor, y: Sequence[int], queue: Sequence[tuple[torch.Tensor, int]], t: float
) -> float:
    """Queries and keys (N, d) with labels, against (key, label) pairs of earlier batches."""
    values = []
    for i in range(len(y)):
        key = math.exp(float(unit(q)[i] @ unit(k)[i]) / t)
        others = [math.exp(float(unit(q)[i] @ one) / t) for one, label in queue if label != y[i]]
        values.append(-math.log(key / (key + sum(others))))
    return mean(values)


def cross_batch_memory(
    x: torch.Tensor,
    y: Sequence[int],
    earlier: Sequence[tuple[torch.Tensor, int]],
    margin: float,
) -> float:
    """A batch (N, D) with labels, against (unit embedding, label) pairs of earlier batches and itself."""
    rows = unit(x)
    costs = []
    for i in range(len(y)):
        entries = [*earlier, *((rows[j], y[j]) for j in range(len(y)) if j != i)]
        for one, label in entries:
            cosine = float(rows[i] @ one)
            costs.append(1 - cosine if label == y[i] else hinge(cosine - margin))
    return sum(costs) / len(y)


def simsiam(p: torch.Tensor, z: torch.Tensor) -> float:
    """Rows 2 i and 2 i + 1 are the views of image i: D(p1, z2) / 2 + D(p2, z1) / 2 (Chen and He 2021)."""
    p, z = unit(p), unit(z)
    pairs = range(0, len(p), 2)
    return mean(-float(p[i] @ z[i + 1]) / 2 - float(p[i + 1] @ z[i]) / 2 for i in pairs)
