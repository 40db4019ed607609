"""The miners that draw by chance, against loops; the others are in test_mining.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError, UsageError
from reid.metric.distances import pairwise_distances
from reid.metric.miners import MINERS, build_miner, drawn, random_negative, random_semi_hard

LABELS = st.lists(st.sampled_from([-3, 0, 4, 1000]), min_size=1, max_size=9)


def matrix_of(size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return pairwise_distances(torch.randn(size, 3, generator=generator, dtype=torch.float64))


def inside(d: torch.Tensor, y: list[int], margin: float) -> dict[tuple[int, int], set[int]]:
    """Of every positive pair the negatives that lie between the positive and the margin, by the formula."""
    rows, found = range(len(y)), {}
    for a in rows:
        for p in rows:
            if p != a and y[p] == y[a]:
                near = {n for n in rows if y[n] != y[a] and d[a, p] < d[a, n] < d[a, p] + margin}
                found[a, p] = near
    return found


@given(LABELS, st.sampled_from([0.3, 1.0, torch.inf]))
@settings(deadline=None, max_examples=40)
def test_random_semi_hard_negatives_lie_inside_the_margin(y: list[int], margin: float) -> None:
    d = matrix_of(len(y))
    wanted = {pair: near for pair, near in inside(d, y, margin).items() if near}
    for _ in range(4):
        found = random_semi_hard(d, torch.tensor(y), margin)
        triplets = list(zip(*(part.tolist() for part in found), strict=True))
        assert sorted((a, p) for a, p, _ in triplets) == sorted(wanted)
        assert all(n in wanted[a, p] for a, p, n in triplets)


def test_every_semi_hard_negative_is_drawn_as_often_as_any_other() -> None:
    d = torch.tensor([[0.0, 1.0, 0.5, 1.5, 1.7, 3.0]] + [[1.0] * 6] * 5)
    labels, counts = torch.tensor([0, 0, 1, 2, 3, 4]), torch.zeros(6)
    torch.manual_seed(0)
    for _ in range(400):
        found = random_semi_hard(d, labels, 1.0)
        counts[found.negative[found.anchor == 0]] += 1
    assert counts.nonzero().flatten().tolist() == [3, 4]
    assert (counts[3] - 200).abs() < 50  # five standard deviations of 400 fair draws


@given(LABELS)
@settings(deadline=None, max_examples=40)
def test_random_negatives_of_every_positive_pair(y: list[int]) -> None:
    d = matrix_of(len(y))
    pairs = [(a, p) for a, p in inside(d, y, 0.0) if len(set(y)) > 1]
    found = random_negative(d, torch.tensor(y))
    triplets = list(zip(*(part.tolist() for part in found), strict=True))
    assert sorted((a, p) for a, p, _ in triplets) == sorted(pairs)
    assert all(y[n] != y[a] for a, _, n in triplets)


def test_drawn_takes_the_thirds_of_the_batch_and_refuses_others() -> None:
    labels = torch.tensor([1, 2, 1, 2, 5, 1])
    found = drawn(matrix_of(6), labels)
    assert [part.tolist() for part in found] == [[0, 1], [2, 3], [4, 5]]
    for wrong in ([1, 2, 1, 2, 1, 1], [1, 2, 3, 2, 5, 1], [1, 1, 2, 2]):
        with pytest.raises(ReidError, match="not laid out in triplets"):
            drawn(matrix_of(len(wrong)), torch.tensor(wrong))


def test_unknown_miners_and_options_are_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"miner 'semihard' is unknown: take one of all, batch_hard"):
        build_miner("semihard", {})
    with pytest.raises(UsageError, match=r"miner semi_hard has no option 'margin': it takes none"):
        build_miner("semi_hard", {"margin": 1.0})
    with pytest.raises(UsageError, match=r"random_semi_hard: the option 'margin' is 'wide'"):
        build_miner("random_semi_hard", {"margin": "wide"})


@pytest.mark.parametrize("name", sorted(MINERS))
def test_an_anchor_is_never_its_own_positive_and_labels_are_right(name: str) -> None:
    x = torch.nn.functional.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(1)))
    labels = torch.tensor([0, 1, 2, 3] * 2 + [1, 2, 3, 0])  # in thirds as well, for the miner drawn
    anchor, positive, negative = build_miner(name, {})(pairwise_distances(x), labels, 8)
    assert (anchor != positive).all()
    assert torch.equal(labels[anchor], labels[positive])
    assert (labels[anchor] != labels[negative]).all()
