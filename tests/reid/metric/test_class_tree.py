import tracemalloc
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster

from reid.errors import ReidError, UsageError
from reid.metric.class_tree import ClassTree


def data(classes: int = 9, per_class: int = 5, dim: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    return rng.normal(size=(classes, dim))[labels] + 0.4 * rng.normal(size=(len(labels), dim)), labels


def naive(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class distances and distances inside the classes, straight from the double sums over images."""
    unit = [row / np.linalg.norm(row) for row in x]
    classes = np.unique(y)
    between, inside = np.zeros((len(classes), len(classes))), np.zeros(len(classes))
    for i, p in enumerate(classes):
        for j, q in enumerate(classes):
            values = [
                ((unit[a] - unit[b]) ** 2).sum()
                for a in np.flatnonzero(y == p)
                for b in np.flatnonzero(y == q)
                if a != b
            ]
            if i == j:
                inside[i] = np.mean(values) if values else np.nan
            else:
                between[i, j] = np.mean(values)
    return between, inside


@given(st.integers(2, 6), st.integers(0, 99), st.integers(1, 20))
@settings(deadline=None, max_examples=25)
def test_equals_the_double_sums(classes, seed, levels):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, size=3 * classes)]))
    x = rng.normal(size=(len(y), 4))
    tree = ClassTree.from_embeddings(x, y, levels=levels)
    between, inside = naive(x, y)
    d_0 = np.nanmean(inside)
    np.testing.assert_allclose(tree.class_distances, between, atol=1e-12)
    np.testing.assert_allclose(tree.intra_class, np.where(np.isnan(inside), d_0, inside), atol=1e-12)
    np.testing.assert_allclose(
        tree.thresholds, [step * (4 - d_0) / levels + d_0 for step in range(levels + 1)], atol=1e-12
    )
    assert tree.thresholds[-1] == pytest.approx(4)


def test_levels_are_the_flat_clusters_of_average_linkage():
    x, y = data(classes=14)
    tree = ClassTree.from_embeddings(x, y)
    between, _ = naive(x, y)
    # Average linkage by hand: merge the two nodes with the least mean distance of their classes until one is
    # left.
    nodes = [[c] for c in range(14)]
    merged_at = np.zeros((14, 14))
    while len(nodes) > 1:
        height, a, b = min(
            (between[np.ix_(p, q)].mean(), i, j) for (i, p), (j, q) in combinations(enumerate(nodes), 2)
        )
        merged_at[np.ix_(nodes[a], nodes[b])] = merged_at[np.ix_(nodes[b], nodes[a])] = height
        nodes = [node for i, node in enumerate(nodes) if i not in (a, b)] + [nodes[a] + nodes[b]]
    for p, q in combinations(range(14), 2):
        level = tree.merge_level(p, q)
        assert merged_at[p, q] < tree.thresholds[level]
        assert level == 0 or merged_at[p, q] >= tree.thresholds[level - 1]
    for level, threshold in enumerate(tree.thresholds):
        cluster = fcluster(tree.linkage, threshold, "distance")
        np.testing.assert_array_equal(tree.merge_levels <= level, cluster[:, None] == cluster[None, :])


def test_two_near_pairs_by_hand():
    # Four classes of two equal images: at 0 and 10 degrees, and at 180 and 190 degrees.
    angles = np.deg2rad([0, 0, 10, 10, 180, 180, 190, 190])
    tree = ClassTree.from_embeddings(
        np.stack([np.cos(angles), np.sin(angles)], 1), [3, 3, 5, 5, 8, 8, 9, 9], levels=4
    )
    np.testing.assert_allclose(tree.thresholds, [0, 1, 2, 3, 4], atol=1e-12)
    near = 2 - 2 * np.cos(np.deg2rad(10))
    assert near < 1
    assert tree.merge_levels.tolist() == [[0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 1], [4, 4, 1, 0]]
    assert tree.class_distances[0, 1] == pytest.approx(near)
    assert tree.classes.tolist() == [3, 5, 8, 9]
    assert tree.nearest(0, 1).tolist() == [1]
    assert tree.nearest(2, 3).tolist() == [3, 1, 0]
    assert tree.nearest(2, 99).tolist() == [3, 1, 0]


def test_merge_level_takes_numbers_arrays_and_tensors():
    tree = ClassTree.from_embeddings(*data())
    rows, columns = np.array([[0, 1], [2, 3]]), np.array([4, 5])
    expected = [
        [tree.merge_level(0, 4), tree.merge_level(1, 5)],
        [tree.merge_level(2, 4), tree.merge_level(3, 5)],
    ]
    assert isinstance(tree.merge_level(0, 4), int)
    assert tree.merge_level(rows, columns).tolist() == expected
    answer = tree.merge_level(torch.from_numpy(rows), torch.from_numpy(columns))
    assert isinstance(answer, torch.Tensor)
    assert answer.tolist() == expected


def test_torch_float32_and_other_label_names_give_the_same_tree():
    x, y = data()
    tree = ClassTree.from_embeddings(x, y)
    again = ClassTree.from_embeddings(
        torch.from_numpy(x).float().requires_grad_(), torch.from_numpy(y) * 100 - 7
    )
    np.testing.assert_allclose(again.class_distances, tree.class_distances, atol=1e-6)
    np.testing.assert_array_equal(again.merge_levels, tree.merge_levels)
    assert again.classes.tolist() == [100 * c - 7 for c in range(9)]
    scaled = ClassTree.from_embeddings(x * np.random.default_rng(0).uniform(0.1, 9, size=(len(x), 1)), y)
    np.testing.assert_allclose(scaled.means, tree.means, atol=1e-12)


def test_classes_of_one_image_and_a_single_class():
    x, y = data(per_class=1)
    tree = ClassTree.from_embeddings(x, y)
    assert tree.intra_class.tolist() == [0.0] * 9
    assert tree.thresholds[0] == 0
    y[1] = 0
    mixed = ClassTree.from_embeddings(x, y)
    assert (mixed.intra_class == mixed.thresholds[0]).all()
    one = ClassTree.from_embeddings(x, np.zeros(9, dtype=int))
    assert one.merge_level(0, 0) == 0
    assert one.nearest(0, 3).tolist() == []
    assert one.linkage.shape == (0, 4)


def test_opposite_classes_still_merge_at_the_top():
    tree = ClassTree.from_embeddings([[1.0, 0], [-1.0, 0]], [0, 1], levels=3)
    assert tree.merge_level(0, 1) == 3


def test_saved_and_loaded_is_the_same(tmp_path):
    tree = ClassTree.from_embeddings(*data(), levels=5)
    tree.save(tmp_path / "tree.npz")
    again = ClassTree.load(tmp_path / "tree.npz")
    np.testing.assert_array_equal(again.merge_levels, tree.merge_levels)
    np.testing.assert_array_equal(again.thresholds, tree.thresholds)
    np.testing.assert_array_equal(again.intra_class, tree.intra_class)
    assert again.nearest(2, 4).tolist() == tree.nearest(2, 4).tolist()


def test_broken_files_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.npz"):
        ClassTree.load(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("no tree")
    np.savez(tmp_path / "other.npz", means=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", classes=np.array([{}], dtype=object))
    for name in ("text.npz", "other.npz", "pickled.npz"):
        with pytest.raises(ReidError, match=name):
            ClassTree.load(tmp_path / name)


def test_bad_input_is_named():
    x, y = data()
    x[[17, 30]] = np.nan
    with pytest.raises(ReidError, match="embedding 17 is NaN"):
        ClassTree.from_embeddings(x, y)
    with pytest.raises(UsageError, match="levels is 0"):
        ClassTree.from_embeddings(*data(), levels=0)
    with pytest.raises(ReidError, match=r"\(45, 6\)"):
        ClassTree.from_embeddings(x, y[:-1])
    with pytest.raises(ReidError, match="N > 0"):
        ClassTree.from_embeddings(np.zeros((0, 3)), [])


def test_memory_does_not_grow_with_the_square_of_the_images():
    x, y = data(classes=40, per_class=500, dim=8)
    x = x.astype(np.float32)
    tracemalloc.start()
    ClassTree.from_embeddings(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * x.size * 8  # an N x N matrix takes 3.2 GB
