"""Softmax and centre loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError
from reid.losses import build_loss
from tests.reid.losses import naive

Y = [0, 2, 2, 1, 0, 2]


def cross_entropy(weight: torch.Tensor, x: torch.Tensor, y: list[int], smoothing: float) -> float:
    classes, costs = len(weight), []
    for row, label in zip(x.tolist(), y, strict=True):
        logits = [sum(a * b for a, b in zip(row, w, strict=True)) for w in weight.tolist()]
        total = math.log(sum(math.exp(z) for z in logits))
        targets = [smoothing / classes + (1 - smoothing) * (c == label) for c in range(classes)]
        costs.append(sum(t * (total - z) for t, z in zip(targets, logits, strict=True)))
    return naive.mean(costs)


def doubled(name: str, **options):
    torch.manual_seed(0)
    loss = build_loss(name, num_classes=3, embedding_dim=4, **options).double().eval()
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter)
    return loss


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8), naive.seeds, st.sampled_from([0.0, 0.1, 0.5]))
@settings(deadline=None)
def test_softmax_equals_the_loops(y, seed, smoothing):
    loss, x = doubled("softmax", label_smoothing=smoothing), naive.embeddings(len(y), seed, 4)
    output = loss(x, torch.tensor(y))
    weight = loss.classifier.weight.detach()
    assert float(output.value.detach()) == pytest.approx(cross_entropy(weight, x, y, smoothing), abs=1e-9)
    assert float(output.active_fraction) == pytest.approx(
        naive.mean(int((weight @ row).argmax()) != c for row, c in zip(x, y, strict=True))
    )
    d = naive.distances(x, squared=False)
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx(
        naive.pair_means(d, y), abs=1e-6
    )


def test_softmax_has_no_bias():
    assert [name for name, _ in build_loss("softmax", num_classes=3, embedding_dim=4).named_parameters()] == [
        "classifier.weight"
    ]


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=8),
    naive.seeds,
    st.sampled_from([0.0, 0.003, 2.0]),
    st.booleans(),
)
@settings(deadline=None)
def test_center_equals_the_loops(y, seed, weight, classify):
    loss, x = (
        doubled("center", center_weight=weight, classify=classify, label_smoothing=0.1),
        naive.embeddings(len(y), seed, 4),
    )
    torch.nn.init.normal_(loss.centers)
    spread = naive.mean(
        sum((a - b) ** 2 for a, b in zip(row, loss.centers[c].tolist(), strict=True))
        for row, c in zip(x.tolist(), y, strict=True)
    )
    expected = weight / 2 * spread
    if classify:
        expected += cross_entropy(loss.softmax.classifier.weight.detach(), x, y, 0.1)
    output = loss(x, torch.tensor(y))
    assert float(output.value.detach()) == pytest.approx(expected, abs=1e-9)
    assert float(output.extras["center"]) == pytest.approx(spread / 2, abs=1e-9)


def test_gradients():
    x, labels = naive.embeddings(6, 0, 4).requires_grad_(), torch.tensor(Y)
    for loss in (doubled("softmax", label_smoothing=0.1), doubled("center", center_weight=0.5)):
        assert torch.autograd.gradcheck(
            lambda e, *_, loss=loss: loss(e, labels).value, (x, *loss.parameters())
        )


@pytest.mark.parametrize("weight", [0.0, 0.003, 100.0])
def test_centers_move_by_their_own_rate_alone(weight):
    loss = build_loss("center", num_classes=3, embedding_dim=2, center_weight=weight, center_lr=0.5)
    loss.centers.copy_(torch.tensor([[1.0, 1.0], [5.0, 5.0], [0.0, 0.0]]))
    x = torch.tensor([[3.0, 1.0], [0.0, 4.0], [0.0, 2.0]], requires_grad=True)
    loss(x, torch.tensor([0, 2, 2])).value.backward()
    # c += 0.5 sum(x - c) / (1 + n): for class 0 half of (2, 0) / 2; for class 2 half of (0, 6) / 3; class 1
    # has no image.
    torch.testing.assert_close(loss.centers, torch.tensor([[1.5, 1.0], [5.0, 5.0], [0.0, 1.0]]))
    assert "centers" not in dict(loss.named_parameters())
    assert "centers" in loss.state_dict()
    before = loss.centers.clone()
    loss.eval()(x, torch.tensor([0, 2, 2]))
    assert torch.equal(loss.centers, before)


def test_centers_converge_to_the_class_means():
    loss = build_loss("center", num_classes=2, embedding_dim=3, center_weight=0.0)
    x, labels = naive.embeddings(40, 1).float(), torch.arange(40) % 2
    for _ in range(60):
        loss(x, labels)
    torch.testing.assert_close(loss.centers, torch.stack([x[::2].mean(0), x[1::2].mean(0)]))


@pytest.mark.parametrize("name", ["softmax", "center"])
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_named(name, label):
    with pytest.raises(ReidError, match=f"label {label} "):
        build_loss(name, num_classes=3, embedding_dim=4)(torch.zeros(2, 4), torch.tensor([0, label]))
