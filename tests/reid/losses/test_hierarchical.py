import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError, UsageError
from reid.losses import build_loss
from reid.metric.class_tree import ClassTree
from tests.reid.losses import naive

CLASSES = 5
class_indices = st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=11)


def some_tree(seed: int = 0, levels: int = 16) -> ClassTree:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), 4)
    return ClassTree.from_embeddings(
        rng.normal(size=(CLASSES, 3))[labels] + 0.3 * rng.normal(size=(len(labels), 3)), labels, levels=levels
    )


def flat_tree(margin: float, beta: float) -> ClassTree:
    """A tree whose every margin is the same: no distance inside the classes, and all merge at one level."""
    empty = ClassTree(
        classes=np.arange(CLASSES),
        counts=np.full(CLASSES, 2),
        means=np.zeros((CLASSES, 3)),
        intra_class=np.zeros(CLASSES),
        thresholds=np.array([margin - beta, 4.0]),
        linkage=np.array([[0.0, 1, 0, 2], [2, 5, 0, 3], [3, 6, 0, 4], [4, 7, 0, 5]]),
    )
    assert empty.merge_levels.max() == 0
    return empty


@given(class_indices, naive.seeds, st.booleans(), st.floats(-0.5, 0.5), st.sampled_from([1, 4, 16]))
@settings(deadline=None)
def test_equals_the_loops(y, seed, squared, beta, levels):
    tree = some_tree(seed, levels)
    x = naive.embeddings(len(y), seed)
    d = naive.distances(naive.unit(x), squared)
    margins = {
        (p, q): beta + tree.thresholds[tree.merge_level(p, q)] - tree.intra_class[p]
        for p in range(CLASSES)
        for q in range(CLASSES)
        if p != q
    }
    gaps = [d[a][p] - d[a][n] + margins[y[a], y[n]] for a, p, n in naive.triplets(y)]
    output = build_loss("hierarchical", tree=tree, beta=beta, squared=squared)(x, torch.tensor(y))
    assert float(output.value) == pytest.approx(naive.mean(naive.hinge(gap) for gap in gaps) / 2, abs=1e-9)
    assert float(output.active_fraction) == pytest.approx(naive.mean(gap > 0 for gap in gaps))
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx(
        naive.pair_means(d, y), abs=1e-6
    )
    used = [margins[p, q] for p in set(y) for q in set(y) if p != q]
    if used:
        merged = [tree.merge_level(p, q) for p in set(y) for q in set(y) if p != q]
        extras = {name: float(value) for name, value in output.extras.items()}
        assert extras["margin_min"] == pytest.approx(min(used), rel=1e-6, abs=1e-6)
        assert extras["margin_mean"] == pytest.approx(np.mean(used), rel=1e-6, abs=1e-6)
        assert (extras["level_min"], extras["level_max"], extras["levels_used"]) == (
            min(merged),
            max(merged),
            len(set(merged)),
        )


@pytest.mark.parametrize("squared", [True, False])
def test_gradients(squared):
    x, labels = naive.embeddings(8, 3).requires_grad_(), torch.tensor([4, 4, 4, 2, 2, 0, 0, 1])
    loss = build_loss("hierarchical", tree=some_tree(), squared=squared)
    assert torch.autograd.gradcheck(lambda e: loss(e, labels).value, (x,))


@given(class_indices, naive.seeds, st.booleans())
@settings(deadline=None)
def test_a_flat_tree_is_the_plain_triplet_loss_with_that_margin(y, seed, squared):
    x, labels = naive.embeddings(len(y), seed), torch.tensor(y)
    htl = build_loss("hierarchical", tree=flat_tree(0.35, 0.1), beta=0.1, squared=squared)(x, labels)
    plain = build_loss("batch_all", margin=0.35, squared=squared, normalise=True, average="all")(x, labels)
    assert float(htl.value) == pytest.approx(float(plain.value) / 2, abs=1e-9)
    assert float(htl.active_fraction) == pytest.approx(float(plain.active_fraction))


def test_the_length_of_the_embeddings_does_not_matter():
    x, labels = naive.embeddings(8, 3), torch.tensor([4, 4, 4, 2, 2, 0, 0, 1])
    loss = build_loss("hierarchical", tree=some_tree())
    torch.testing.assert_close(loss(x, labels).value, loss(3 * x, labels).value)


def test_by_hand_on_the_circle():
    # Two classes at right angles, each of one direction: squared distances 0 inside, 2 between. s = 0, d_0 =
    # 0; with L = 2 they merge at level 2 (2 is not below 2), whose threshold is 4. So every triplet costs 0 -
    # 2 + 0.1 + 4, halved.
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    labels = torch.tensor([0, 0, 1, 1])
    tree = ClassTree.from_embeddings(x, labels, levels=2)
    output = build_loss("hierarchical", tree=tree, beta=0.1)(x, labels)
    assert float(output.value) == pytest.approx(1.05)
    assert float(output.extras["margin_max"]) == pytest.approx(4.1)


def test_the_tree_can_be_set_later_and_anew():
    x, labels = naive.embeddings(8, 3), torch.tensor([4, 4, 4, 2, 2, 0, 0, 1])
    loss = build_loss("hierarchical")
    with pytest.raises(UsageError, match="set_tree"):
        loss(x, labels)
    loss.set_tree(some_tree(1))
    first = float(loss(x, labels).value)
    assert first == float(build_loss("hierarchical", tree=some_tree(1))(x, labels).value)
    loss.set_tree(some_tree(2))
    assert float(loss(x, labels).value) != first
    assert not loss.state_dict()


def test_labels_beyond_the_tree_are_named():
    with pytest.raises(ReidError, match=r"label 5 .* 0\.\.4"):
        build_loss("hierarchical", tree=some_tree())(naive.embeddings(2, 0), torch.tensor([1, 5]))
