"""The boosted ensemble against loops over float64 numbers and an example by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import UsageError
from reid.losses.bier import BierLoss, boosting_rates, learner_sizes, learner_weights
from reid.models.embedder import EmbeddingModel
from tests.reid.losses import naive


def cosine(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def by_loops(x: torch.Tensor, y: list[int], slices: tuple[int, ...]) -> float:
    rows, total = x.tolist(), {True: 0.0, False: 0.0}
    pairs = [(i, j) for i in range(len(y)) for j in range(len(y)) if i != j]
    for i, j in pairs:
        same, weight, ensemble, start = y[i] == y[j], 1.0, 0.0, 0
        scale = 2.0 if same else -50.0
        for m, size in enumerate(slices, 1):
            s = cosine(rows[i][start : start + size], rows[j][start : start + size])
            margin = scale * (s - 0.5)
            total[same] += weight * math.log1p(math.exp(-margin))
            ensemble = (1 - 2 / (m + 1)) * ensemble + 2 / (m + 1) * s
            weight = 1 / (1 + math.exp(scale * (ensemble - 0.5)))
            start += size
    numbers = {same: max(1, sum((y[i] == y[j]) == same for i, j in pairs)) for same in total}
    return sum(total[same] / numbers[same] for same in total) / len(slices)


@given(y=naive.any_labels, seed=naive.seeds, learners=st.integers(1, 4))
@settings(deadline=None)
def test_value_is_that_of_the_algorithm(y: list[int], seed: int, learners: int) -> None:
    x, loss = naive.embeddings(len(y), seed, 9), BierLoss(9, learners)
    expected = by_loops(x, y, loss.slices)
    assert float(loss(x, torch.tensor(y)).value) == pytest.approx(expected, abs=1e-9)


def test_gradient_leaves_the_weights_of_pairs_alone() -> None:
    x, labels = naive.embeddings(6, 3, 8).requires_grad_(), torch.arange(6) // 2
    one = BierLoss(8, 1)
    assert torch.autograd.gradcheck(lambda rows: one(rows, labels).value, (x,))
    # Only through its own slice does a learner's value reach the embedding.
    loss = BierLoss(8, 2)
    (gradient,) = torch.autograd.grad(loss(x, labels).value, x)
    alone = BierLoss(loss.slices[0], 1)
    first = x.detach()[:, : loss.slices[0]].requires_grad_()
    (expected,) = torch.autograd.grad(alone(first, labels).value, first)
    torch.testing.assert_close(2 * gradient[:, : loss.slices[0]], expected)


def test_an_example_by_hand() -> None:
    """Learner 1 sees the two images of a person at a right angle (s = 0), so learner 2 gives the pair the
    weight 1 / (1 + exp(2 (0 - 0.5))) = e / (1 + e); there s = 1.
    """
    loss = BierLoss(4, 2)
    loss.slices = (2, 2)
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 2.0, 0.0]], dtype=torch.float64)
    weight = math.e / (1 + math.e)
    expected = (math.log(1 + math.e) + weight * math.log(1 + math.exp(-1))) / 2
    output = loss(x, torch.tensor([3, 3]))
    assert float(output.value) == pytest.approx(expected, abs=1e-12)
    # F_2 = 1/3 * 0 + 2/3 * 1
    assert float(output.mean_positive) == pytest.approx(1 / 3)


@given(learners=st.integers(1, 12), more=st.integers(0, 500))
@settings(deadline=None)
def test_weights_lie_on_the_simplex_and_every_number_has_one_learner(learners: int, more: int) -> None:
    weights = learner_weights(learners)
    assert sum(weights) == pytest.approx(1) and min(weights) > 0
    assert boosting_rates(learners)[0] == 1
    for m, weight in enumerate(weights, 1):
        assert weight == pytest.approx(2 * m / (learners * (learners + 1)))
    sizes = learner_sizes(learners + more, learners)
    assert sum(sizes) == learners + more and min(sizes) >= 1 and len(sizes) == learners
    if more > 2 * learners**2:
        for size, weight in zip(sizes, weights, strict=True):
            assert size / (learners + more) == pytest.approx(weight, abs=1.01 / (learners + more))


@pytest.mark.parametrize("learners", [0, 5])
def test_more_learners_than_numbers_are_one_line(learners: int) -> None:
    with pytest.raises(UsageError, match=f"bier: learners is {learners}: an embedding of 4 numbers takes 1"):
        BierLoss(4, learners)


def test_the_embedding_is_of_norm_1_and_its_cosine_that_of_the_ensemble() -> None:
    torch.manual_seed(0)
    slices = learner_sizes(12, 3)
    model = EmbeddingModel(torch.nn.Identity(), 12, slices=slices, neck_feature="before_bn").eval()
    x = torch.randn(5, 12)
    embeddings = model.embed(x[:, :, None, None])
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(5))
    parts = [torch.nn.functional.normalize(part) for part in x.split(list(slices), 1)]
    expected = sum(size / 12 * part @ part.T for size, part in zip(slices, parts, strict=True))
    torch.testing.assert_close(embeddings @ embeddings.T, expected)
    with pytest.raises(UsageError, match=r"slices \(3, 3\) are not the 12 numbers"):
        EmbeddingModel(torch.nn.Identity(), 12, slices=(3, 3))


def prediction(a: list[float], b: list[float], slices: tuple[int, ...]) -> float:
    """F_M of the algorithm, F_m = (1 - eta_m) F_(m-1) + eta_m s_m, over float64 numbers."""
    ensemble, start = 0.0, 0
    for m, size in enumerate(slices, 1):
        s = cosine(a[start : start + size], b[start : start + size])
        ensemble = (1 - 2 / (m + 1)) * ensemble + 2 / (m + 1) * s
        start += size
    return ensemble


@given(seed=naive.seeds, learners=st.integers(1, 4))
@settings(deadline=None)
def test_what_is_searched_by_is_what_the_boosting_ends_with(seed: int, learners: int) -> None:
    """With a length that all weights m / (1 + ... + M) divide, to the last digits; and the loss says the same
    of its pairs.
    """
    dim = learners * (learners + 1)
    loss = BierLoss(dim, learners)
    model = EmbeddingModel(torch.nn.Identity(), dim, slices=loss.slices, neck_feature="before_bn")
    x = naive.embeddings(4, seed, dim)
    with torch.no_grad():
        found = model.double().eval().embed(x[:, :, None, None])
    rows = x.tolist()
    for i in range(4):
        for j in range(4):
            expected = prediction(rows[i], rows[j], loss.slices)
            assert float(found[i] @ found[j]) == pytest.approx(expected, abs=1e-12)
    said = loss(x, torch.tensor([0, 0, 1, 2])).mean_positive
    assert float(1 - found[0] @ found[1]) == pytest.approx(float(said), abs=1e-12)
