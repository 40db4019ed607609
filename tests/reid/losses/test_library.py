"""What pytorch-metric-learning calculates for us, against it and against the papers' formulas as loops over
float64 numbers.
"""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses

from reid.errors import ReidError
from reid.losses import build_loss
from tests.reid.losses import naive

DIM, CLASSES = 6, 4
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
PROXIES = {
    "arcface": losses.ArcFaceLoss(CLASSES, DIM),
    "cosface": losses.CosFaceLoss(CLASSES, DIM),
    "sphereface": losses.SphereFaceLoss(CLASSES, DIM),
    "proxy_nca": losses.ProxyNCALoss(CLASSES, DIM, softmax_scale=8.0),
    "proxy_anchor": losses.ProxyAnchorLoss(CLASSES, DIM),
}
PAIRS = {"multi_similarity": losses.MultiSimilarityLoss(), "circle": losses.CircleLoss(m=0.25, gamma=128)}


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_give_what_the_library_gives(name):
    loss, x = build_loss(name, num_classes=CLASSES, embedding_dim=DIM), naive.embeddings(8, 0, DIM).float()
    PROXIES[name].load_state_dict(loss.inner.state_dict())
    torch.testing.assert_close(loss(x, LABELS).value, PROXIES[name](x, LABELS))
    assert len(list(loss.parameters())) == 1


@pytest.mark.parametrize("name", PROXIES)
def test_active_fraction_is_the_share_of_wrong_answers(name):
    loss = build_loss(name, num_classes=CLASSES, embedding_dim=DIM)
    (proxies,) = loss.parameters()
    directions = 3 * torch.eye(CLASSES, DIM)
    with torch.no_grad():
        proxies.copy_(directions if proxies.shape == directions.shape else directions.T)
    x = directions[LABELS] + 0.1 * naive.embeddings(8, 0, DIM).float()
    assert float(loss(x, LABELS).active_fraction) == 0
    assert float(loss(x, (LABELS + (torch.arange(8) < 2)) % CLASSES).active_fraction) == 0.25


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_give_what_the_library_gives(name):
    x = naive.embeddings(8, 0, DIM).float()
    # Two people of one image each: anchors that cost nothing count for the one and not for the other.
    for labels in (LABELS, torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])):
        torch.testing.assert_close(build_loss(name)(x, labels).value, PAIRS[name](x, labels))


@pytest.mark.parametrize("name", [*PROXIES, *PAIRS])
def test_gradients_in_double_precision(name):
    options = {"num_classes": CLASSES, "embedding_dim": DIM} if name in PROXIES else {}
    loss = build_loss(name, **options).double()
    x = naive.embeddings(8, 0, DIM).requires_grad_()
    assert torch.isfinite(torch.autograd.grad(loss(x, LABELS).value, x)[0]).all()
    if name != "circle":  # its weights are held constant, so its gradient is not the derivative of its value
        assert torch.autograd.gradcheck(lambda e: loss(e, LABELS).value, (x,))


@pytest.mark.parametrize("name", PROXIES)
def test_labels_out_of_range_are_named(name):
    with pytest.raises(ReidError, match="label 4 "):
        build_loss(name, num_classes=CLASSES, embedding_dim=DIM)(torch.zeros(2, DIM), torch.tensor([0, 4]))


def naive_sphereface(x, classes, labels, margin, weight):
    """Liu 2017, equations 5 to 7, and the mixture of its appendix G, a term at a time."""
    costs = []
    for row, label in zip(x, labels.tolist(), strict=True):
        length = row.norm()
        logits = [length * (row @ one) / (length * one.norm()) for one in classes]
        cosine = logits[label] / length
        angle = math.acos(float(cosine.detach()))
        k = math.floor(angle * margin / math.pi)
        psi = (-1) ** k * math.cos(margin * angle) - 2 * k
        logits[label] = length * (weight * cosine + psi) / (1 + weight)
        costs.append(torch.logsumexp(torch.stack(logits), 0) - logits[label])
    return torch.stack(costs).mean()


@pytest.mark.parametrize("margin", [2, 3, 4])
def test_sphereface_goes_over_from_classification_to_its_margin(margin):
    options = {"annealed": True, "margin": margin, "base": 20.0, "gamma": 1.0, "lambda_min": 3.0}
    loss = build_loss("sphereface", num_classes=CLASSES, embedding_dim=DIM, **options).double()
    x, (classes,) = naive.embeddings(8, 0, DIM), loss.parameters()
    for step in range(1, 9):
        weight = max(3.0, 20.0 / (1 + step))
        wanted = naive_sphereface(x, classes.T, LABELS, margin, weight)
        torch.testing.assert_close(loss(x, LABELS).value, wanted, msg=f"step {step}")
    for _ in range(2):  # looked at, it does not go on
        torch.testing.assert_close(
            loss.eval()(x, LABELS).value, naive_sphereface(x, classes.T, LABELS, margin, 3.0)
        )
    assert int(loss.inner.step) == 8
    assert "inner.step" in loss.state_dict(), "a training that was killed goes on where it was"


def test_annealing_is_by_the_authors_numbers():
    loss = build_loss("sphereface", num_classes=CLASSES, embedding_dim=DIM, annealed=True)
    assert loss.inner.annealing == (1000.0, 0.12, 1.0, 5.0)


Rows = list[list[float]]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def log_sum(values: list[float]) -> float:
    """log(1 + sum of exp): of nothing 0."""
    return math.log(1 + math.fsum(math.exp(value) for value in values))


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(math.fsum(math.exp(one - logits[label]) for one in logits))


def naive_angular(
    x: Rows, proxies: Rows, y: list[int], scale: float, margin: Callable[[float], float]
) -> float:
    """Cross-entropy of ``scale`` times the cosines, with ``margin`` of the angle to the own class."""
    costs = []
    for row, label in zip(x, y, strict=True):
        cosines = [cosine(row, one) for one in proxies]
        cosines[label] = margin(math.acos(cosines[label]))
        costs.append(cross_entropy([scale * value for value in cosines], label))
    return naive.mean(costs)


def arc(angle: float, margin: float = math.radians(28.6)) -> float:
    """Deng 2019, equation 3; past pi, where cos would rise again, the authors' straight line."""
    if angle + margin < math.pi:
        return math.cos(angle + margin)
    return math.cos(angle) - margin * math.sin(margin)


def naive_proxy_nca(x: Rows, proxies: Rows, y: list[int]) -> float:
    """Softmax over squared distances of unit rows, 2 - 2 cos, times 8."""
    distances = [[-8 * (2 - 2 * cosine(row, one)) for one in proxies] for row in x]
    return naive.mean(cross_entropy(row, label) for row, label in zip(distances, y, strict=True))


def naive_proxy_anchor(x: Rows, proxies: Rows, y: list[int]) -> float:
    """Kim 2020, equation 4: the first mean is over the proxies with an image in the batch, the second over
    all.
    """
    near, far = [], []
    for label, proxy in enumerate(proxies):
        similar = [(cosine(row, proxy), own == label) for row, own in zip(x, y, strict=True)]
        pulled = [-32 * (s - 0.1) for s, own in similar if own]
        if pulled:
            near.append(log_sum(pulled))
        far.append(log_sum([32 * (s + 0.1) for s, own in similar if not own]))
    return naive.mean(near) + naive.mean(far)


NAIVE_PROXIES: dict[str, Callable[[Rows, Rows, list[int]], float]] = {
    "arcface": lambda x, w, y: naive_angular(x, w, y, 64.0, arc),
    "cosface": lambda x, w, y: naive_angular(x, w, y, 64.0, lambda angle: math.cos(angle) - 0.35),
    "sphereface": lambda x, w, y: float(
        naive_sphereface(
            *(torch.tensor(rows, dtype=torch.float64) for rows in (x, w)), torch.tensor(y), 4, 0.0
        )
    ),
    "proxy_nca": naive_proxy_nca,
    "proxy_anchor": naive_proxy_anchor,
}


@pytest.mark.parametrize("name", PROXIES)
@given(y=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=9), seed=naive.seeds)
@settings(deadline=None, max_examples=40)
def test_a_loss_with_proxies_equals_the_loops(name: str, y: list[int], seed: int) -> None:
    loss = build_loss(name, num_classes=CLASSES, embedding_dim=DIM).double()
    (proxies,) = loss.parameters()
    drawn = naive.embeddings(CLASSES, seed + 1000, DIM)
    with torch.no_grad():
        proxies.copy_(drawn if proxies.shape == drawn.shape else drawn.T)
    x = naive.embeddings(len(y), seed, DIM)
    expected = NAIVE_PROXIES[name](x.tolist(), drawn.tolist(), y)
    assert float(loss(x, torch.tensor(y)).value.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def naive_multi_similarity(x: Rows, y: list[int]) -> float:
    """Wang 2019, equation 15, of all pairs: alpha 2, beta 50, lambda 0.5."""
    costs = []
    for a in range(len(y)):
        near, far = ([cosine(x[a], x[i]) for i in rows] for rows in naive.candidates(y, a))
        pulled, pushed = log_sum([-2 * (s - 0.5) for s in near]), log_sum([50 * (s - 0.5) for s in far])
        costs.append(pulled / 2 + pushed / 50)
    return naive.mean(costs)


def naive_circle(x: Rows, y: list[int]) -> float:
    """Sun 2020, equations 6 to 8, an anchor at a time: margin 0.25, gamma 128; the mean of those that cost
    something.
    """
    costs = []
    for a in range(len(y)):
        near, far = ([cosine(x[a], x[i]) for i in rows] for rows in naive.candidates(y, a))
        pulled = math.fsum(math.exp(-128 * naive.hinge(1.25 - s) * (s - 0.75)) for s in near)
        pushed = math.fsum(math.exp(128 * naive.hinge(s + 0.25) * (s - 0.25)) for s in far)
        costs.append(math.log(1 + pulled * pushed))
    return naive.active_mean(costs)


NAIVE_PAIRS = {"multi_similarity": naive_multi_similarity, "circle": naive_circle}


@pytest.mark.parametrize("name", PAIRS)
@given(y=naive.any_labels, seed=naive.seeds)
@settings(deadline=None, max_examples=60)
def test_a_loss_of_all_pairs_equals_the_loops(name: str, y: list[int], seed: int) -> None:
    x = naive.embeddings(len(y), seed, DIM)
    expected = NAIVE_PAIRS[name](x.tolist(), y)
    found = float(build_loss(name).double()(x, torch.tensor(y)).value)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
