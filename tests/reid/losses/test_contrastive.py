import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer

from reid.errors import ReidError, UsageError
from reid.losses import build_loss
from tests.reid.losses import naive

COSTS = {
    "distance": (lambda d: d, lambda d, m: naive.hinge(m - d)),
    "squared": (lambda d: d**2, lambda d, m: naive.hinge(m - d**2)),
    "hadsell": (lambda d: d**2 / 2, lambda d, m: naive.hinge(m - d) ** 2 / 2),
}


@given(
    naive.any_labels,
    naive.seeds,
    st.sampled_from(sorted(COSTS)),
    st.sampled_from(["active", "all"]),
    st.booleans(),
)
@settings(deadline=None)
def test_equals_the_loops(y, seed, form, average, normalise):
    x = naive.embeddings(len(y), seed)
    d = naive.distances(naive.unit(x) if normalise else x, squared=False)
    pull, push = COSTS[form]
    pairs = [(i, j) for i in range(len(y)) for j in range(len(y)) if i != j]
    positive = [pull(d[i][j]) for i, j in pairs if y[i] == y[j]]
    negative = [push(d[i][j], 1.5) for i, j in pairs if y[i] != y[j]]
    reduce = naive.active_mean if average == "active" else naive.mean
    output = build_loss("contrastive", margin=1.5, form=form, average=average, normalise=normalise)(
        x, torch.tensor(y)
    )
    assert float(output.value) == pytest.approx(reduce(positive) + reduce(negative), abs=1e-9)
    assert float(output.active_fraction) == pytest.approx(
        naive.mean(cost > 0 for cost in positive + negative)
    )


def test_by_hand():
    x, labels = torch.tensor([[0.0], [0.5], [0.75]]), torch.tensor([1, 1, 2])
    # One equal pair at 0.5; different ones at 0.75 and 0.25.
    assert float(build_loss("contrastive")(x, labels).value) == pytest.approx(0.5 + (0.25 + 0.75) / 2)
    assert float(build_loss("contrastive", form="squared")(x, labels).value) == pytest.approx(
        0.25 + (1 - 0.5625 + 1 - 0.0625) / 2
    )
    assert float(build_loss("contrastive", form="hadsell")(x, labels).value) == pytest.approx(
        0.125 + (0.0625 + 0.5625) / 4
    )


@pytest.mark.parametrize("form", sorted(COSTS))
def test_gradients(form):
    x, labels = naive.embeddings(8, 3).requires_grad_(), torch.tensor([5, 5, 5, 2, 2, 8, 8, 1])
    assert torch.autograd.gradcheck(
        lambda e: build_loss("contrastive", form=form, margin=2.0)(e, labels).value, (x,)
    )


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("average", ["active", "all"])
def test_agrees_with_pytorch_metric_learning(power, average):
    x, labels = naive.embeddings(24, 4, dim=4).float(), torch.arange(24) % 6
    reducer = AvgNonZeroReducer() if average == "active" else MeanReducer()
    theirs = ContrastiveLoss(
        neg_margin=2.0, distance=LpDistance(normalize_embeddings=False, power=power), reducer=reducer
    )
    ours = build_loss(
        "contrastive", margin=2.0, form="squared" if power == 2 else "distance", average=average
    )
    torch.testing.assert_close(ours(x, labels).value, theirs(x, labels), atol=1e-5, rtol=1e-5)


def test_wrong_options_are_named():
    with pytest.raises(UsageError, match="'cosine'"):
        build_loss("contrastive", form="cosine")
    with pytest.raises(UsageError, match="'some'"):
        build_loss("contrastive", average="some")


@given(st.lists(st.sampled_from([3, 8]), min_size=1, max_size=5), naive.seeds, st.sampled_from(sorted(COSTS)))
@settings(deadline=None, max_examples=20)
def test_drawn_pairs_alone_count(left, seed, form):
    """Siamese: row i with row B / 2 + i (Hadsell 2006, equation 4)."""
    count, y = len(left), [*left, *reversed(left)]
    x = naive.embeddings(len(y), seed)
    d = naive.distances(x, squared=False)
    pull, push = COSTS[form]
    pairs = [(i, count + i) for i in range(count)]
    positive = [pull(d[i][j]) for i, j in pairs if y[i] == y[j]]
    negative = [push(d[i][j], 1.5) for i, j in pairs if y[i] != y[j]]
    loss = build_loss("contrastive", margin=1.5, form=form, average="all", pairs="drawn")
    output = loss(x, torch.tensor(y))
    assert float(output.value) == pytest.approx(naive.mean(positive) + naive.mean(negative), abs=1e-9)
    assert float(output.active_fraction) == pytest.approx(
        naive.mean(cost > 0 for cost in positive + negative)
    )


def test_an_odd_batch_has_no_drawn_pairs():
    with pytest.raises(ReidError, match="not laid out in pairs"):
        build_loss("contrastive", pairs="drawn")(naive.embeddings(3, 0), torch.tensor([1, 1, 2]))
