import numpy as np
import pytest
import torch

from reid.errors import ReidError, UsageError
from reid.metric import offline_mining
from reid.metric.distances import pairwise_distances
from reid.metric.offline_mining import mine_training_set


def training_set(rows: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(rows, 4))), torch.from_numpy(
        rng.integers(0, 12, size=rows) * 5 - 20
    )


@pytest.mark.parametrize("block", [1, 7, 60, 500])
def test_hard_equals_the_full_matrix_whatever_the_block(block):
    x, y = training_set()
    d, same = pairwise_distances(x), y[:, None] == y[None, :]
    positive = torch.where(same, d, -1.0).fill_diagonal_(-1.0)
    found = mine_training_set(x, y, "hard", block=block)
    assert found.anchor.tolist() == (positive.amax(1) >= 0).nonzero().flatten().tolist()
    assert found.positive.tolist() == positive.argmax(1)[found.anchor].tolist()
    assert found.negative.tolist() == d.masked_fill(same, torch.inf).argmin(1)[found.anchor].tolist()


@pytest.mark.parametrize("block", [1, 7, 500])
def test_semi_hard_takes_the_nearest_beyond_its_positive(block):
    x, y = training_set()
    d = pairwise_distances(x)
    found = mine_training_set(x, y, "semi_hard", generator=torch.Generator().manual_seed(0), block=block)
    assert len(found.anchor) > 30
    for a, p, n in zip(*(part.tolist() for part in found), strict=True):
        assert a != p
        assert y[a] == y[p] != y[n]
        beyond = [k for k in range(len(y)) if y[k] != y[a] and d[a, k] > d[a, p]]
        assert n == min(beyond, key=lambda k: d[a, k])
    left_out = set(range(len(y))) - set(found.anchor.tolist())
    assert all((y == y[a]).sum() == 1 or d[a][y == y[a]].max() > d[a][y != y[a]].max() for a in left_out)


def test_the_draw_of_positives_follows_the_generator():
    x, y = training_set()
    first, again, other = (
        mine_training_set(x, y, generator=torch.Generator().manual_seed(seed)).positive.tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_no_matrix_is_larger_than_a_block(monkeypatch):
    sizes = []

    def spy(a, b):
        sizes.append(max(len(a), len(b)))
        return pairwise_distances(a, b)

    monkeypatch.setattr(offline_mining, "pairwise_distances", spy)
    x, y = training_set(200)
    y[:120] = 0  # one identity larger than the block
    mine_training_set(x, y, "hard", block=32)
    assert max(sizes) == 32


def test_identities_alone_and_images_alone_give_none():
    x, y = training_set()
    assert not len(mine_training_set(x, torch.zeros_like(y)).anchor)
    assert not len(mine_training_set(x, torch.arange(60), "hard").anchor)


def test_bad_input_is_named():
    x, y = training_set()
    with pytest.raises(UsageError, match="'random'"):
        mine_training_set(x, y, "random")
    with pytest.raises(UsageError, match="block"):
        mine_training_set(x, y, block=0)
    with pytest.raises(ReidError, match=r"\(59,\)"):
        mine_training_set(x, y[1:])
