from collections import Counter

import numpy as np
import pytest
import torch

from reid.data.triplet_sampling import (
    DenseSampler,
    PairSampler,
    ShuffledSampler,
    TripletSampler,
    ViewSampler,
)
from reid.errors import ReidError, UsageError
from reid.metric.mining import dense_triplets
from reid.metric.offline_mining import mine_training_set


def test_every_mined_triplet_is_seen_and_stays_together():
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(40, 3))), torch.from_numpy(rng.integers(0, 6, size=40))
    mined = mine_training_set(x, y, "hard")
    wanted = set(zip(*(part.tolist() for part in mined), strict=True))
    sampler = TripletSampler(*mined, triplets=7)
    batches = list(sampler)
    assert {(batch[i], batch[i + 7], batch[i + 14]) for batch in batches for i in range(7)} == wanted
    assert len(batches) == len(sampler)
    assert all(len(batch) == 21 for batch in batches)


def test_triplets_are_shuffled_by_epoch():
    sampler = TripletSampler(range(10), range(10, 20), range(20, 30), triplets=5)
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_dense_batches_hold_the_neighbourhood_of_their_first_row():
    labels = np.random.default_rng(0).normal(size=(30, 2))
    sampler = DenseSampler(labels, neighbours=4, others=5)
    assert list(sampler) == list(sampler)
    assert len(list(sampler)) == len(sampler) == 3
    for batch in sampler:
        assert len(set(batch)) == 10
        distance = np.linalg.norm(labels - labels[batch[0]], axis=1)
        assert set(batch[1:5]) == set(np.argsort(distance)[1:5].tolist())
        near = torch.from_numpy(distance[batch])[None]
        assert len(dense_triplets(near).anchor) == 9 * 8 // 2


def test_equal_labels_do_not_displace_the_anchor():
    for batch in DenseSampler(np.zeros(8), neighbours=2, others=2, batches=20):
        assert len(set(batch)) == 5


def test_wrong_arguments_are_named():
    with pytest.raises(ReidError, match="no triplet"):
        TripletSampler([], [], [], triplets=2)
    with pytest.raises(UsageError, match="triplets of the sampler is 0"):
        TripletSampler([0], [1], [2], triplets=0)
    with pytest.raises(ReidError, match="5 images are fewer than a batch of 7"):
        DenseSampler(np.arange(5), neighbours=3, others=3)
    with pytest.raises(UsageError, match="others of the sampler is 0"):
        DenseSampler(np.arange(5), neighbours=3, others=0)


def test_pairs_are_half_of_one_label_and_half_of_two():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), [1, 2, 3, 4, 5, 2, 3]))
    seen = Counter()
    sampler = PairSampler(labels, pairs=5)
    assert list(sampler) == list(sampler)
    assert len(list(sampler)) == len(sampler) == 2
    for epoch in range(60):
        sampler.set_epoch(epoch)
        for batch in sampler:
            left, right = np.array(batch[:5]), np.array(batch[5:])
            assert (left != right).all()
            assert (labels[left] == labels[right]).tolist() == [True] * 3 + [False] * 2
            seen.update(batch)
    assert set(seen) == set(range(20)), "the one image of a person comes in pairs of two people"


def test_every_image_comes_once_in_a_shuffled_pass():
    sampler = ShuffledSampler(23, size=5)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [5] * 5
    order = [row for batch in batches for row in batch]
    assert sorted(order[:23]) == list(range(23))
    assert order[23:] == order[:2]
    sampler.set_epoch(1)
    assert list(sampler) != batches


def test_views_of_an_image_lie_side_by_side_and_no_image_comes_twice():
    sampler = ViewSampler(23, size=5, seed=3)
    batches = list(sampler)
    assert batches == list(sampler) and len(batches) == len(sampler) == 5
    for batch in batches:
        assert batch[0::2] == batch[1::2] and len(set(batch)) == 5
    assert {row for batch in batches for row in batch} == set(range(23))
    with pytest.raises(ReidError, match=r"^4 images are fewer than a batch of 5: take a smaller batch"):
        ViewSampler(4, size=5)


def test_pairs_that_cannot_be_are_named():
    for labels in (np.zeros(4), np.arange(4)):
        with pytest.raises(ReidError, match="no pairs to sample: want two people"):
            PairSampler(labels, pairs=2)
