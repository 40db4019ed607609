"""What all objectives promise, whatever their formula."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError
from reid.losses import LOSSES, LossOutput, build_loss, loss_options
from reid.metric.class_tree import ClassTree
from tests.reid.losses import naive

CLASSES, DIM = 4, 6
OWN_DRAWS = {"distance_weighted"}
# Their rows have roles by their places.
BY_PLACE = {"moco"}
# Objectives over pairs and triplets: without two identities, one of them with two images, there is nothing to
# learn from.
OF_TRIPLETS = (
    "batch_hard",
    "batch_all",
    "batch_semi_hard",
    "easy_positive",
    "distance_weighted",
    "quadruplet_euclidean",
    "hierarchical",
)
NAMES = [name for name in LOSSES if name != "quadruplet"] + ["quadruplet_euclidean", "quadruplet_learned"]


def build(name: str, classes: int = CLASSES, dim: int = DIM) -> torch.nn.Module:
    torch.manual_seed(0)
    name, _, metric = name.partition("_") if name.startswith("quadruplet") else (name, "", "")
    rng = np.random.default_rng(0)
    offered = {
        "num_classes": classes,
        "embedding_dim": dim,
        "metric": metric,
        "queue": 480,  # of many sizes of batches a multiple
        "tree": ClassTree.from_embeddings(
            rng.normal(size=(5 * classes, dim)), np.arange(5 * classes) % classes
        ),
    }
    return build_loss(
        name, **{key: value for key, value in offered.items() if key in loss_options(name) and value != ""}
    )


def evaluate(name: str, x: torch.Tensor, labels: torch.Tensor) -> LossOutput:
    loss = build(name).to(x.dtype if x.dtype == torch.float64 else torch.float32)
    torch.manual_seed(0)
    return loss(x, labels)


HOSTILE = {
    "identical embeddings": (torch.ones(8, DIM), torch.arange(8) // 2),
    "zero embeddings": (torch.zeros(8, DIM), torch.arange(8) // 2),
    "huge embeddings": (1e6 * naive.embeddings(8, 0, DIM).float(), torch.arange(8) // 2),
    "tiny embeddings": (1e-20 * naive.embeddings(8, 0, DIM).float(), torch.arange(8) // 2),
    "one identity": (naive.embeddings(8, 0, DIM).float(), torch.ones(8, dtype=torch.int64)),
    "one image each": (naive.embeddings(4, 0, DIM).float(), torch.arange(4)),
    "one row": (naive.embeddings(1, 0, DIM).float(), torch.tensor([2])),
    "two rows of one identity": (naive.embeddings(2, 0, DIM).float(), torch.tensor([2, 2])),
    "int32 labels": (naive.embeddings(8, 0, DIM).float(), (torch.arange(8) // 2).int()),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_batches_have_finite_values_and_gradients(name, case):
    x, labels = HOSTILE[case]
    x = x.clone().requires_grad_()
    output = evaluate(name, x, labels)
    output.value.backward()
    assert torch.isfinite(x.grad).all()
    for field in (
        output.value,
        output.active_fraction,
        output.mean_positive,
        output.mean_negative,
        *output.extras.values(),
    ):
        assert field.ndim == 0
        assert field.is_floating_point()
        assert torch.isfinite(field)
    assert not any(field.requires_grad for field in (*output[1:4], *output.extras.values()))
    assert 0 <= float(output.active_fraction) <= 1


@pytest.mark.parametrize("name", OF_TRIPLETS)
@pytest.mark.parametrize("case", ["one identity", "one image each", "one row", "two rows of one identity"])
def test_a_batch_without_a_triplet_costs_exactly_nothing_and_stays_in_the_graph(name, case):
    x, labels = HOSTILE[case]
    x = x.clone().requires_grad_()
    output = evaluate(name, x, labels)
    output.value.backward()
    assert float(output.value.detach()) == 0
    assert torch.equal(x.grad, torch.zeros_like(x))
    assert float(output.active_fraction) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_embeddings_that_are_not_finite_are_named_by_their_rows(name, bad):
    x = naive.embeddings(8, 0, DIM).float()
    x[3, 2] = x[6, 0] = bad
    with pytest.raises(ReidError, match=r"batch rows 3, 6 \(2 of 8\)") as caught:
        evaluate(name, x, torch.arange(8) // 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_named(name):
    x = naive.embeddings(8, 0, DIM).float()
    for embeddings, labels in ((x, torch.arange(7)), (x[0], torch.arange(6)), (x, torch.tensor(1))):
        with pytest.raises(ReidError, match="do not fit"):
            evaluate(name, embeddings, labels)
    with pytest.raises(ReidError, match="empty"):
        evaluate(name, x[:0], torch.arange(0))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OWN_DRAWS | BY_PLACE])
@given(
    y=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=9),
    seed=naive.seeds,
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=8)
def test_the_order_of_the_batch_does_not_matter(name, y, seed, order):
    x, labels = naive.embeddings(len(y), seed, DIM).requires_grad_(), torch.tensor(y)
    permutation = list(range(len(y)))
    order.shuffle(permutation)
    one = evaluate(name, x, labels)
    other = evaluate(name, x[permutation], labels[permutation])
    for first, second in zip(one[:4], other[:4], strict=True):
        torch.testing.assert_close(first.detach(), second.detach(), atol=1e-6, rtol=1e-6, check_dtype=False)
    gradients = [torch.autograd.grad(output.value, x)[0] for output in (one, other)]
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-6)


UNNUMBERED = [
    name
    for name in NAMES
    if name not in OWN_DRAWS | {"log_ratio", "hierarchical"}
    and "num_classes" not in loss_options(name.split("_eu")[0].split("_le")[0])
]


@pytest.mark.parametrize("name", UNNUMBERED)
@given(
    y=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    seed=naive.seeds,
    names=st.sets(st.integers(-(2**60), 2**60), min_size=4, max_size=4),
)
@settings(deadline=None, max_examples=8)
def test_labels_may_be_any_integers(name, y, seed, names):
    x, renamed = naive.embeddings(len(y), seed, DIM), sorted(names, key=hash)
    one, other = (
        evaluate(name, x, torch.tensor(y)),
        evaluate(name, x, torch.tensor([renamed[label] for label in y])),
    )
    for first, second in zip(one[:4], other[:4], strict=True):
        torch.testing.assert_close(first, second, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    x, labels = naive.embeddings(8, 0, DIM).float(), torch.arange(8) // 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = evaluate(name, x, labels)
        half = evaluate(name, x.bfloat16(), labels)
    plain = evaluate(name, x, labels)
    assert under.value.dtype == half.value.dtype == torch.float32
    torch.testing.assert_close(under.value, plain.value, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        half.value, evaluate(name, x.bfloat16().float(), labels).value, atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_same_batch_gives_the_same_bits(name):
    """At the size of a real batch, with threads: what adds gradients up in the order of their arrival shows
    here.
    """
    x, labels = torch.randn(64, 1280, generator=torch.Generator().manual_seed(0)), torch.arange(64) // 4
    loss, threads = build(name, 16, 1280).eval(), torch.get_num_threads()
    gradients = []
    torch.set_num_threads(2)
    try:
        for _ in range(12):
            torch.manual_seed(0)
            leaf = x.clone().requires_grad_()
            loss(leaf, labels).value.backward()
            gradients.append(leaf.grad)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, gradients[0]) for one in gradients[1:])
