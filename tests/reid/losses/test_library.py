import math

import pytest
import torch
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
