import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.miners import BatchEasyHardMiner, TripletMarginMiner

from reid.metric import mining
from reid.metric.distances import pairwise_distances

# Rows 0 and 1 are one person, 2 and 3 another.
MATRIX = torch.tensor(
    [[0.0, 3.0, 1.0, 5.0], [3.0, 0.0, 4.0, 2.0], [1.0, 4.0, 0.0, 6.0], [5.0, 2.0, 6.0, 0.0]]
)
LABELS = torch.tensor([7, 7, -1, -1])

labels_of = st.lists(st.sampled_from([-3, 0, 4, 1000]), min_size=1, max_size=10)


def as_set(triplets: mining.Triplets) -> set[tuple[int, ...]]:
    return set(zip(*(part.tolist() for part in triplets), strict=True))


def matrix_of(size: int, seed: int = 0) -> torch.Tensor:
    return pairwise_distances(torch.from_numpy(np.random.default_rng(seed).normal(size=(size, 3))))


def candidates(y: list[int], anchor: int) -> tuple[list[int], list[int]]:
    rows = range(len(y))
    return [p for p in rows if p != anchor and y[p] == y[anchor]], [n for n in rows if y[n] != y[anchor]]


def test_four_by_four_by_hand():
    assert as_set(mining.batch_hard(MATRIX, LABELS)) == {(0, 1, 2), (1, 0, 3), (2, 3, 0), (3, 2, 1)}
    assert as_set(mining.easy_positive(MATRIX, LABELS)) == {(0, 1, 2), (1, 0, 3), (2, 3, 0), (3, 2, 1)}
    # Beyond 3 lie the 5 of row 0 and the 4 of row 1; beyond the 6 of the second person lies nothing.
    assert as_set(mining.semi_hard(MATRIX, LABELS)) == {(0, 1, 3), (1, 0, 2)}
    assert as_set(mining.all_triplets(LABELS)) == {(a, p, n) for a, p in ((0, 1), (1, 0)) for n in (2, 3)} | {
        (a, p, n) for a, p in ((2, 3), (3, 2)) for n in (0, 1)
    }


@given(labels_of, st.integers(0, 99))
@settings(deadline=None)
def test_miners_equal_the_loops(y, seed):
    d = matrix_of(len(y), seed)
    at = d.tolist()  # numbers, which loops read a hundred times as fast as tensors
    hard, easy, semi, everything = set(), set(), set(), set()
    for a in range(len(y)):
        positives, negatives = candidates(y, a)
        everything |= {(a, p, n) for p in positives for n in negatives}
        if not positives or not negatives:
            continue
        nearest = min(negatives, key=lambda n: at[a][n])
        hard.add((a, max(positives, key=lambda p: at[a][p]), nearest))
        easy.add((a, min(positives, key=lambda p: at[a][p]), nearest))
        for p in positives:
            beyond = [n for n in negatives if at[a][n] > at[a][p]]
            if beyond:
                semi.add((a, p, min(beyond, key=lambda n: at[a][n])))
    labels = torch.tensor(y)
    assert as_set(mining.batch_hard(d, labels)) == hard
    assert as_set(mining.easy_positive(d, labels)) == easy
    assert as_set(mining.semi_hard(d, labels)) == semi
    assert as_set(mining.all_triplets(labels)) == everything


@given(labels_of)
@settings(deadline=None)
def test_groups_hold_every_row_once(y):
    groups = mining.Groups.of(torch.tensor(y))
    assert sorted(groups.members[groups.valid].tolist()) == list(range(len(y)))
    partner, usable = groups.partners()
    for row in range(len(y)):
        assert sorted(partner[row][usable[row]].tolist()) == candidates(y, row)[0]
        assert y[int(groups.members[groups.group[row], 0])] == y[row]
    assert groups.same(torch.float64).tolist() == [[float(p == q) for q in y] for p in y]
    assert groups.positive_pairs == int(mining.positive_mask(torch.tensor(y)).sum())
    assert groups.negative_pairs == int(mining.negative_mask(torch.tensor(y)).sum())
    assert groups.triplets == len(mining.all_triplets(torch.tensor(y)).anchor)


def test_hard_and_easy_agree_with_pytorch_metric_learning():
    x = torch.randn(24, 5, generator=torch.Generator().manual_seed(1))
    x = torch.nn.functional.normalize(x)
    labels = torch.arange(24) % 6
    d = pairwise_distances(x)
    for ours, kind in ((mining.batch_hard, "hard"), (mining.easy_positive, "easy")):
        a1, p, a2, n = BatchEasyHardMiner(pos_strategy=kind, neg_strategy="hard")(x, labels)
        theirs = {
            anchor: (pos, neg)
            for anchor, pos, neg in zip(a1.tolist(), p.tolist(), n[a2.argsort()][a1].tolist(), strict=True)
        }
        assert as_set(ours(d, labels)) == {(anchor, *rest) for anchor, rest in theirs.items()}


def test_semi_hard_is_the_nearest_of_what_pytorch_metric_learning_calls_so():
    x = torch.nn.functional.normalize(torch.randn(24, 5, generator=torch.Generator().manual_seed(2)))
    labels = torch.arange(24) % 6
    d = pairwise_distances(x)
    nearest: dict[tuple[int, int], int] = {}
    for a, p, n in zip(
        *(part.tolist() for part in TripletMarginMiner(margin=10.0, type_of_triplets="semihard")(x, labels)),
        strict=True,
    ):
        if (a, p) not in nearest or d[a, n] < d[a, nearest[a, p]]:
            nearest[a, p] = n
    assert as_set(mining.semi_hard(d, labels)) == {(a, p, n) for (a, p), n in nearest.items()}


def test_distance_weighted_draws_by_the_density_of_the_sphere():
    # One anchor pair and three negatives at known distances from row 0, in 6 dimensions.
    at = [0.7, 0.9, 1.1]
    d = torch.full((5, 5), 1.3)
    d[0, 1] = d[1, 0] = 0.2
    d[0, 2:] = torch.tensor(at)
    labels, dim, draws = torch.tensor([0, 0, 1, 2, 3]), 6, 4000
    density = [a ** (dim - 2) * (1 - a * a / 4) ** ((dim - 3) / 2) for a in at]
    expected = np.array([1 / q for q in density]) / sum(1 / q for q in density)
    generator = torch.Generator().manual_seed(0)
    seen = np.zeros(3)
    for _ in range(draws):
        triplets = mining.distance_weighted(d, labels, dim, generator)
        assert set(zip(triplets.anchor.tolist(), triplets.positive.tolist(), strict=True)) == {(0, 1), (1, 0)}
        seen[int(triplets.negative[triplets.anchor == 0]) - 2] += 1
    assert np.abs(seen / draws - expected).max() < 4 * math.sqrt(0.25 / draws)


def test_distance_weighted_prefers_negatives_in_reach_and_takes_any_where_there_is_none():
    d = torch.tensor([[0.0, 0.1, 1.9, 1.0], [0.1, 0.0, 1.8, 1.9], [1.9, 1.8, 0.0, 0.2], [1.0, 1.9, 0.2, 0.0]])
    generator = torch.Generator().manual_seed(0)
    negatives = {0: set(), 1: set(), 2: set(), 3: set()}
    for _ in range(50):
        for a, n in zip(
            *(part.tolist() for part in mining.distance_weighted(d, LABELS, 8, generator)[::2]), strict=True
        ):
            negatives[a].add(n)
    assert negatives == {0: {3}, 1: {2, 3}, 2: {0, 1}, 3: {0}}


@pytest.mark.parametrize("y", [[0], [1, 1, 1], [0, 1, 2]])
def test_batches_without_a_triplet_give_none(y):
    d, labels = matrix_of(len(y)), torch.tensor(y)
    for triplets in (
        mining.batch_hard(d, labels),
        mining.easy_positive(d, labels),
        mining.semi_hard(d, labels),
        mining.distance_weighted(d, labels, 8),
        mining.all_triplets(labels),
    ):
        assert as_set(triplets) == set()


def test_identical_embeddings_still_have_hard_triplets():
    assert len(mining.batch_hard(torch.zeros(4, 4), LABELS).anchor) == 4


def test_dense_triplets_by_hand():
    y = torch.tensor([0.0, 1.0, 3.0, 1.0])
    assert as_set(mining.dense_triplets((y[:, None] - y).abs()[:1])) == {(0, 1, 2), (0, 3, 2)}
    assert as_set(mining.dense_triplets((y[:, None] - y).abs()[:2])) == {
        (0, 1, 2),
        (0, 3, 2),
        (1, 3, 0),
        (1, 3, 2),
        (1, 0, 2),
    }
