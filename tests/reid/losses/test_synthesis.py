"""Made negatives: their geometry, the loss with them against loops over float64 numbers, the schedule."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import UsageError
from reid.losses import build_loss
from reid.losses.synthesis import SymmetricalSynthesis, build_synthesis, reflected
from tests.reid.losses import naive


def mirror(x: list[float], axis: list[float]) -> list[float]:
    along = sum(a * b for a, b in zip(x, axis, strict=True)) / sum(a * a for a in axis)
    return [2 * along * a - b for a, b in zip(axis, x, strict=True)]


def by_loops(x: torch.Tensor, y: list[int], margin: float) -> float:
    """Batch-hard triplets whose negative distance is the least of four points and four points."""
    rows, d = x.tolist(), naive.distances(x, squared=False)
    values = []
    for a in range(len(y)):
        positives, negatives = naive.candidates(y, a)
        if not positives or not negatives:
            continue
        p, n = max(positives, key=lambda i: d[a][i]), min(negatives, key=lambda i: d[a][i])
        same = [i for i in range(len(y)) if y[i] == y[n]]
        q = same[(same.index(n) + 1) % len(same)]
        left = [rows[a], rows[p], mirror(rows[a], rows[p]), mirror(rows[p], rows[a])]
        right = [rows[n], rows[q], mirror(rows[n], rows[q]), mirror(rows[q], rows[n])]
        values.append(naive.hinge(d[a][p] - min(math.dist(i, j) for i in left for j in right) + margin))
    return naive.mean(values)


@given(seed=naive.seeds, dim=st.integers(1, 7))
@settings(deadline=None)
def test_a_mirrored_point_keeps_norm_and_angle_and_lies_across_the_axis(seed: int, dim: int) -> None:
    points, axes = naive.embeddings(5, seed, dim), naive.embeddings(5, seed + 1000, dim)
    made = reflected(points, axes)
    torch.testing.assert_close(made.norm(dim=1), points.norm(dim=1))
    torch.testing.assert_close((made * axes).sum(1), (points * axes).sum(1))
    middle = (made + points) / 2
    torch.testing.assert_close((middle * axes).sum(1).abs(), middle.norm(dim=1) * axes.norm(dim=1))
    torch.testing.assert_close(reflected(made, axes), points)
    torch.testing.assert_close(reflected(points, 3 * axes), made)
    torch.testing.assert_close(reflected(points, points), points)


@given(y=naive.any_labels, seed=naive.seeds)
@settings(deadline=None)
def test_value_and_gradient_are_those_of_the_formula(y: list[int], seed: int) -> None:
    x = naive.embeddings(len(y), seed).requires_grad_()
    loss = SymmetricalSynthesis(build_loss("batch_hard", margin=5.0)).eval()
    value = loss(x, torch.tensor(y)).value
    assert float(value.detach()) == pytest.approx(by_loops(x.detach(), y, 5.0), abs=1e-9)
    assert float(value.detach()) >= float(loss.loss(x, torch.tensor(y)).value.detach()) - 1e-9
    value.backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["batch_hard", "batch_all", "batch_semi_hard", "easy_positive"])
def test_gradcheck_around_every_loss_of_triplets(name: str) -> None:
    loss = SymmetricalSynthesis(build_loss(name, margin=5.0)).eval()
    x, labels = naive.embeddings(6, 3).requires_grad_(), torch.arange(6) // 2
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels).value, (x,))


def test_the_schedule_rises_from_the_plain_loss_and_is_part_of_the_state() -> None:
    x, labels = naive.embeddings(6, 1), torch.arange(6) // 2
    plain = build_loss("batch_hard", margin=5.0)
    whole = SymmetricalSynthesis(plain).eval()(x, labels).value
    loss = SymmetricalSynthesis(plain, begin=2, rise=4)
    shares = []
    for _ in range(8):
        share = loss.share()
        value = loss(x, labels).value
        torch.testing.assert_close(value, (1 - share) * plain(x, labels).value + share * whole)
        shares.append(share)
    assert shares == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    again = SymmetricalSynthesis(plain, begin=2, rise=4)
    again.load_state_dict(loss.state_dict())
    assert again.share() == 1
    assert [SymmetricalSynthesis(plain, begin=b).share() for b in (0, 1)] == [1, 0]


def test_without_a_triplet_it_costs_exactly_nothing_and_stays_in_the_graph() -> None:
    x = naive.embeddings(4, 0).requires_grad_()
    output = SymmetricalSynthesis(build_loss("batch_hard"))(x, torch.arange(4))
    output.value.backward()
    assert float(output.value.detach()) == 0 and torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize(
    ("name", "options", "loss", "message"),
    [
        ("symmetrical", {}, "softmax", "synthesis makes the negatives of triplets, and this loss chooses"),
        ("symmetric", {}, "batch_hard", "synthesis 'symmetric' is unknown: take one of symmetrical"),
        ("symmetrical", {"start": 1}, "batch_hard", "synthesis symmetrical has no option 'start': it takes"),
        ("symmetrical", {"begin": -1}, "batch_hard", "begin and rise of the synthesis are -1 and 0"),
    ],
)
def test_what_cannot_be_is_one_line(name: str, options: dict[str, int], loss: str, message: str) -> None:
    sizes = {"num_classes": 2, "embedding_dim": 3} if loss == "softmax" else {}
    with pytest.raises(UsageError, match=message) as caught:
        build_synthesis(name, options, build_loss(loss, **sizes))
    assert "\n" not in str(caught.value)
