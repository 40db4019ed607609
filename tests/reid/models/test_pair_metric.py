import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from safetensors.torch import save_file

from reid.errors import ReidError, UsageError
from reid.models.pair_metric import PairMetric


def metric(dim: int = 4, seed: int = 0) -> PairMetric:
    g = PairMetric(dim).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in g.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return g


def points(rows: int, dim: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, dim)))


def by_the_layer(g: PairMetric, x: list[float], y: list[float]) -> float:
    """A 2-way softmax over a fully-connected layer on the symmetric features of one pair."""
    x, y = ([value / math.sqrt(sum(v * v for v in row)) for value in row] for row in (x, y))
    features = [(a - b) ** 2 for a, b in zip(x, y, strict=True)] + [a * b for a, b in zip(x, y, strict=True)]
    weights = g.difference.tolist() + g.product.tolist()
    different = sum(w * f for w, f in zip(weights, features, strict=True)) + float(g.bias.detach())
    return math.exp(different) / (math.exp(different) + math.exp(0.0))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_all_pairs_and_single_pairs_equal_the_layer(n, m, dim, seed):
    g, x, y = metric(dim, seed), points(n, dim, seed), points(m, dim, seed + 1)
    expected = [[by_the_layer(g, p, q) for q in y.tolist()] for p in x.tolist()]
    np.testing.assert_allclose(g(x, y).detach(), expected, atol=1e-12)
    np.testing.assert_allclose(g.paired(x[:, None], y[None]).detach(), expected, atol=1e-12)
    torch.testing.assert_close(g(x, y), g(y, x).T)
    torch.testing.assert_close(g(x), g(x).T)
    assert bool(((g(x) >= 0) & (g(x) <= 1)).all())


def test_it_starts_as_a_rising_function_of_the_distance():
    x, y = points(30), points(30, seed=1)
    unit_x, unit_y = (torch.nn.functional.normalize(part) for part in (x, y))
    distance = (unit_x - unit_y).norm(dim=1)
    g = PairMetric(4).double().paired(x, y)
    assert torch.equal(g.argsort(), distance.argsort())
    assert ((g > 0.5) == (distance > 1)).all()


def test_the_length_of_the_embeddings_does_not_matter():
    g, x, y = metric(), points(5), points(5, seed=1)
    torch.testing.assert_close(g(3 * x, 0.1 * y), g(x, y))


def test_pairs_are_classified_with_each_class_weighing_half():
    g, x, y = metric(), points(5), [0, 0, 1, 1, 1]
    same, different = [], []
    for i in range(5):
        for j in range(5):
            if i != j:
                value = by_the_layer(g, x[i].tolist(), x[j].tolist())
                (same if y[i] == y[j] else different).append(-math.log(1 - value if y[i] == y[j] else value))
    loss = g.classification_loss(g.logits(x), torch.tensor(y))
    assert float(loss.detach()) == pytest.approx(
        (sum(same) / len(same) + sum(different) / len(different)) / 2
    )
    assert torch.autograd.gradcheck(
        lambda e, *_: g.classification_loss(g.logits(e), torch.tensor(y)),
        (x.requires_grad_(), *g.parameters()),
    )


def test_it_learns_a_dimension_that_does_not_count():
    # The first dimension says who it is, the second is loud noise: on plain distance the pairs cannot be told
    # apart.
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    x = torch.stack([2.0 * labels - 1, 2.0 * torch.randn(64, generator=generator), torch.ones(64)], 1)
    g = PairMetric(3)
    optimizer = torch.optim.Adam(g.parameters(), lr=0.1)
    pairs = torch.triu_indices(64, 64, 1)
    different = labels[pairs[0]] != labels[pairs[1]]

    def accuracy() -> float:
        return float(((g(x)[pairs[0], pairs[1]] > 0.5) == different).float().mean())

    start = accuracy()
    for _ in range(200):
        optimizer.zero_grad()
        g.classification_loss(g.logits(x), labels).backward()
        optimizer.step()
    assert accuracy() > max(0.9, start + 0.2)
    assert float(g.difference[0].detach()) > float(g.difference[1].detach())


def test_saved_and_loaded_is_the_same_and_needs_no_torch(tmp_path):
    g, x = metric(), points(5)
    g.save(tmp_path / "pair_metric.safetensors")
    torch.testing.assert_close(
        PairMetric.load(tmp_path / "pair_metric.safetensors").double()(x), g(x), atol=1e-6, rtol=1e-6
    )
    weights = load_file(tmp_path / "pair_metric.safetensors")
    assert {name: value.shape for name, value in weights.items()} == {
        "difference": (4,),
        "product": (4,),
        "bias": (),
    }


def test_other_files_are_named(tmp_path):
    with pytest.raises(UsageError, match="gone"):
        PairMetric.load(tmp_path / "gone.safetensors")
    (tmp_path / "text.safetensors").write_text("nothing")
    save_file(
        {"difference": torch.zeros(3), "product": torch.zeros(2), "bias": torch.zeros(())},
        tmp_path / "mixed.safetensors",
    )
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    for name in ("text", "mixed", "other"):
        with pytest.raises(ReidError, match=name) as caught:
            PairMetric.load(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(caught.value)


def test_equal_and_zero_embeddings_have_finite_gradients():
    for x in (torch.ones(4, 3), torch.zeros(4, 3)):
        x.requires_grad_()
        g = PairMetric(3)
        (g(x).sum() + g.paired(x, x).sum()).backward()
        assert torch.isfinite(x.grad).all()


def test_autocast_changes_nothing():
    g, x = PairMetric(4), points(6).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(g(x), g(x.clone()))
        under = g(x), g.paired(x, x.flip(0))
    torch.testing.assert_close(under, (g(x), g.paired(x, x.flip(0))))
