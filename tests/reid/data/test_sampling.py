from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from reid.data.sampling import HierarchicalSampler, PKSampler, draw_images
from reid.errors import ReidError, UsageError
from reid.metric.class_tree import ClassTree

label_lists = st.lists(st.sampled_from([-4, 0, 3, 8, 15, 10**12]), min_size=1, max_size=30)


@given(label_lists, st.integers(1, 5), st.integers(2, 5), st.integers(0, 9), st.integers(0, 9))
@settings(deadline=None)
def test_pk_batches(labels, p, k, seed, epoch):
    labels = np.array(labels)
    identities = len(set(labels.tolist()))
    sampler = PKSampler(labels, p, k, seed=seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert batches == list(sampler)
    assert len(batches) == len(sampler) == -(-identities // p)
    for batch in batches:
        drawn = Counter(labels[batch].tolist())
        assert len(drawn) == min(p, identities)
        assert set(drawn.values()) == {k}
        for identity in drawn:
            images = [image for image in batch if labels[image] == identity]
            assert len(set(images)) == min(k, int((labels == identity).sum()))
    assert {labels[image] for batch in batches for image in batch} == set(labels.tolist())


def test_one_pass_visits_every_identity_once_but_for_the_filling():
    labels = np.repeat(np.arange(11), 3)
    batches = list(PKSampler(labels, 4, 2))
    visits = Counter(int(labels[batch[slot]]) for batch in batches for slot in range(0, 8, 2))
    assert len(batches) == 3
    assert set(visits) == set(range(11))
    assert sorted(visits.values()) == [1] * 10 + [2]


def test_epochs_and_seeds_differ():
    labels = np.repeat(np.arange(8), 6)

    def drawn(seed=0, epoch=0):
        sampler = PKSampler(labels, 4, 3, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert drawn() == drawn()
    assert drawn() != drawn(epoch=1)
    assert drawn() != drawn(seed=1)


def test_over_epochs_every_image_has_its_turn():
    labels = np.repeat([0, 1], 10)
    sampler, seen = PKSampler(labels, 2, 4), set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        seen |= {image for batch in sampler for image in batch}
    assert seen == set(range(20))


@given(
    st.integers(2, 6),
    st.lists(st.sampled_from(["c1", "c2", "c3", "c4"]), min_size=1, max_size=9),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_images_spread_over_the_cameras(k, cameras, seed):
    cameras = np.array(cameras)
    images = np.arange(len(cameras)) + 100
    drawn = draw_images(images, k, np.random.default_rng(seed), cameras) - 100
    assert len(set(drawn.tolist())) == min(k, len(images))
    first_round = cameras[drawn[: min(k, len(images))]]
    assert len(set(first_round.tolist())) == min(k, len(set(cameras.tolist())))


def test_camera_aware_batches():
    labels, cameras = np.repeat([0, 1, 2], 8), np.tile([1, 1, 1, 1, 1, 1, 2, 3], 3)
    for batch in PKSampler(labels, 2, 3, cameras=cameras):
        for identity in set(labels[batch].tolist()):
            assert sorted(cameras[[image for image in batch if labels[image] == identity]].tolist()) == [
                1,
                2,
                3,
            ]
    plain = [cameras[batch].tolist() for epoch in range(10) for batch in _at(PKSampler(labels, 2, 3), epoch)]
    assert any(row.count(1) > 2 for row in plain)


def _at(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_names_and_tensors_may_be_labels_and_a_loader_takes_the_sampler():
    assert [len(batch) for batch in PKSampler(np.array(["anna", "bo", "anna", "cy"]), 2, 2)] == [4, 4]
    labels = torch.arange(12) // 3
    loader = DataLoader(TensorDataset(labels), batch_sampler=PKSampler(labels, 2, 2, seed=3))
    assert [sorted(Counter(rows.tolist()).values()) for (rows,) in loader] == [[2, 2], [2, 2]]


def tree_on_a_circle(classes: int = 12) -> tuple[ClassTree, np.ndarray]:
    """Classes in order round a circle, so that a class's nearest are its neighbours by number. Labels are
    tens.
    """
    labels = np.repeat(np.arange(classes), 3)
    angle = 2 * np.pi * (labels + np.tile([-0.02, 0, 0.02], classes)) / classes * 0.9
    return ClassTree.from_embeddings(np.stack([np.cos(angle), np.sin(angle)], 1), labels * 10), labels * 10


@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 4), st.integers(0, 9))
@settings(deadline=None)
def test_hierarchical_batches(anchors, neighbours, images, epoch):
    tree, labels = tree_on_a_circle()
    sampler = HierarchicalSampler(tree, labels, anchors, neighbours, images)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert batches == list(sampler)
    assert len(batches) == len(sampler) == -(-12 // anchors)
    visited = set()
    for batch in batches:
        drawn = Counter(labels[batch].tolist())
        assert set(drawn.values()) == {images}
        assert len(drawn) == min(12, anchors * neighbours)
        chosen = [int(label) // 10 for label in dict.fromkeys(labels[batch].tolist())]
        visited |= set(chosen[:anchors])
        for position, anchor in enumerate(chosen[:anchors]):
            own = chosen[anchors + position * (neighbours - 1) : anchors + (position + 1) * (neighbours - 1)]
            taken = set(chosen[: anchors + position * (neighbours - 1)])
            free = [int(c) for c in tree.nearest(anchor, 11) if int(c) not in taken]
            assert own == free[: neighbours - 1]
    assert visited == set(range(12))


def test_the_images_of_a_neighbourhood_spread_over_the_cameras_where_wanted():
    tree, labels = tree_on_a_circle()
    cameras = np.tile([1, 1, 2], 12)
    drawn = {
        aware: np.concatenate(
            [
                np.sort(cameras[batch].reshape(4, 2))
                for batch in HierarchicalSampler(tree, labels, 2, 2, 2, cameras=cameras if aware else None)
            ]
        ).tolist()
        for aware in (True, False)
    }
    assert drawn[True] == [[1, 2]] * 24
    assert [1, 1] in drawn[False]


def test_a_new_tree_changes_the_neighbourhoods():
    tree, labels = tree_on_a_circle()
    sampler = HierarchicalSampler(tree, labels, 1, 2, 2, batches=5)
    assert len(list(sampler)) == len(sampler) == 5
    before = {tuple(sorted(set((labels[batch] // 10).tolist()))) for batch in sampler}
    assert all(b - a == 1 for a, b in before)
    reordered = (labels // 10 * 5 % 12) * 10
    angle = 2 * np.pi * reordered / 120 * 0.9
    sampler.set_tree(ClassTree.from_embeddings(np.stack([np.cos(angle), np.sin(angle)], 1), labels))
    after = {tuple(sorted(set((labels[batch] // 10).tolist()))) for batch in sampler}
    assert any(b - a != 1 for a, b in after)


def test_classes_of_one_image_and_too_few_classes():
    tree = ClassTree.from_embeddings(np.eye(3), [0, 1, 2])
    for batch in HierarchicalSampler(tree, [0, 1, 2], classes=2, neighbours=4, images=3):
        assert Counter(batch) == {0: 3, 1: 3, 2: 3}


@pytest.mark.parametrize(
    "call,error,words",
    [
        (lambda: PKSampler([0, 1], 0, 2), UsageError, "p of the sampler is 0"),
        (lambda: PKSampler([0, 1], 1, 1), UsageError, "k of the sampler is 1"),
        (lambda: PKSampler([], 1, 2), ReidError, "at least one image"),
        (lambda: PKSampler([0, 1], 1, 2, cameras=[1]), ReidError, "cameras"),
        (
            lambda: HierarchicalSampler(tree_on_a_circle()[0], [0, 10], 1, 1, 2),
            ReidError,
            "12 classes, the labels 2",
        ),
        (
            lambda: HierarchicalSampler(*tree_on_a_circle(), 0, 1, 2),
            UsageError,
            "classes of the sampler is 0",
        ),
        (
            lambda: HierarchicalSampler(*tree_on_a_circle(), 1, 0, 2),
            UsageError,
            "neighbours of the sampler is 0",
        ),
        (lambda: HierarchicalSampler(*tree_on_a_circle(), 1, 1, 1), UsageError, "images of the sampler is 1"),
        (
            lambda: HierarchicalSampler(*tree_on_a_circle(), 1, 1, 2, batches=0),
            UsageError,
            "batches of the sampler is 0",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
