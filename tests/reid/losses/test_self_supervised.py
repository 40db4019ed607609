"""NT-Xent, MoCo and SimSiam: the formulas, who gets a gradient, the queue, and the sign of a collapse."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.errors import ReidError, UsageError
from reid.losses import LossOutput, build_loss
from reid.losses.moco import MoCoLoss
from reid.losses.nt_xent import NTXentLoss
from reid.losses.projection import collapse, spread
from reid.losses.simsiam import SimSiamLoss
from tests.reid.losses import naive

DIM = 5


def views(images: int) -> Tensor:
    """Labels of two rows for each image."""
    return torch.arange(images).repeat_interleave(2)


def moco(queue: int, **options: float) -> MoCoLoss:
    torch.manual_seed(1)
    loss = build_loss("moco", embedding_dim=DIM, queue=queue, projection=3, **options).double()
    assert isinstance(loss, MoCoLoss)
    return loss


def simsiam() -> SimSiamLoss:
    torch.manual_seed(1)
    loss = build_loss("simsiam", embedding_dim=DIM, projection=6, bottleneck=4).double()
    assert isinstance(loss, SimSiamLoss)
    return loss


# --- NT-Xent


@given(naive.any_labels, naive.seeds, st.sampled_from([0.1, 0.5, 1.0]))
@settings(deadline=None)
def test_nt_xent_equals_the_loops(y: list[int], seed: int, t: float) -> None:
    torch.manual_seed(seed)
    loss = NTXentLoss(DIM, t, projection=4).double()
    x = naive.embeddings(len(y), seed, DIM)
    output = loss(x, torch.tensor(y))
    assert output.value.item() == pytest.approx(naive.nt_xent(loss.projector(x).detach(), y, t), abs=1e-5)


def test_nt_xent_by_hand() -> None:
    # Two images at right angles, whose views are equal: e^(1/t) against two times e^0 beside it.
    x = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 1.0]], dtype=torch.float64)
    output = NTXentLoss(2, 0.5, projection=None)(x, views(2))
    assert float(output.value) == pytest.approx(
        float(-torch.log(torch.tensor(2.0).exp() / (torch.tensor(2.0).exp() + 2)))
    )
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx((0, 2**0.5))
    assert float(output.active_fraction) == 0
    assert float(NTXentLoss(2, projection=None)(x, torch.tensor([0, 1, 0, 1])).active_fraction) == 1


@given(naive.seeds, st.integers(2, 5))
@settings(deadline=None)
def test_nt_xent_is_symmetric_in_the_views(seed: int, images: int) -> None:
    x = naive.embeddings(2 * images, seed, DIM)
    swapped = x.view(images, 2, DIM).flip(1).reshape(-1, DIM)
    loss = NTXentLoss(DIM, projection=None)
    torch.testing.assert_close(loss(x, views(images)).value, loss(swapped, views(images)).value)


def test_nt_xent_gradients() -> None:
    torch.manual_seed(0)
    x, loss = naive.embeddings(6, 3, DIM).requires_grad_(), NTXentLoss(DIM, 0.3, projection=4).double()
    assert torch.autograd.gradcheck(lambda e: loss(e, views(3)).value, (x,))
    assert torch.autograd.gradcheck(lambda e: loss(e, torch.tensor([0, 0, 0, 1, 1, 2])).value, (x,))


def test_a_small_temperature_and_large_embeddings_stay_finite() -> None:
    x = (1e4 * naive.embeddings(8, 0, DIM)).float().requires_grad_()
    for loss in (NTXentLoss(DIM, 1e-3, projection=None), MoCoLoss(DIM, 8, 1e-3)):
        for _ in range(3):
            value = loss(x, views(4)).value
            value.backward()
        assert torch.isfinite(value) and torch.isfinite(x.grad).all()


# --- MoCo


def batch(seed: int, images: int = 4) -> tuple[Tensor, Tensor]:
    """Embeddings and labels of images that no other batch has."""
    return naive.embeddings(2 * images, seed, DIM), views(images) + 100 * seed


def test_moco_equals_the_loops_while_the_queue_goes_round() -> None:
    loss, queue = moco(8, temperature=0.3), []
    for seed in range(5):
        x, labels = batch(seed)
        if seed == 3:  # two images come again: their keys in the queue are no negatives
            labels = labels.clone()
            labels[:4] -= 100
        heads = deepcopy(loss)
        if seed:
            heads.key_projector.update()
        output = loss(x, labels)
        q, k = heads.projector(x[0::2]).detach(), heads.key_projector.module(x[1::2])
        expected = naive.moco(q, k, labels[0::2].tolist(), queue, 0.3)
        assert output.value.item() == pytest.approx(expected, abs=1e-5), seed
        queue = [*queue, *zip(naive.unit(k), labels[1::2].tolist(), strict=True)][-8:]
    assert expected > 0.1


def test_the_first_batch_has_no_negatives_and_costs_nothing() -> None:
    x = batch(0)[0].requires_grad_()
    output = moco(8)(x, views(4))
    output.value.backward()
    assert float(output.value.detach()) == pytest.approx(0, abs=1e-12)
    assert float(output.mean_negative) == 0
    assert x.grad is not None


def test_the_queue_keeps_the_newest_keys_in_order_and_wraps_around() -> None:
    loss = moco(8)
    seen = []
    for seed in range(5):
        x, labels = batch(seed)
        loss(x, labels)
        seen.append((naive.unit(loss.key_projector.module(x[1::2])), labels[1::2]))
    assert int(loss.taken) == 20
    # The fifth batch lies where the first and the third lay, the fourth in the second half.
    for place, (rows, labels) in ((0, seen[4]), (4, seen[3])):
        torch.testing.assert_close(loss.queue_rows[place : place + 4], rows)
        assert torch.equal(loss.queue_labels[place : place + 4], labels)


def test_in_evaluation_the_queue_and_the_keys_head_stand_still() -> None:
    loss = moco(8)
    loss(*batch(0))
    before = deepcopy(loss.state_dict())
    loss.eval()
    first, second = (loss(*batch(1)).value for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_keys_get_no_gradient_and_queries_the_right_one() -> None:
    loss = moco(8).train()
    loss(*batch(0))
    loss.eval()
    x, labels = batch(1)
    queries, keys = x[0::2].clone().requires_grad_(), x[1::2].clone().requires_grad_()

    def value(queries: Tensor, keys: Tensor) -> Tensor:
        return loss(torch.stack([queries, keys], 1).flatten(0, 1), labels).value

    assert torch.autograd.gradcheck(lambda q: value(q, keys.detach()), (queries,))
    value(queries, keys).backward()
    assert torch.count_nonzero(keys.grad) == 0
    assert torch.count_nonzero(queries.grad) > 0
    assert all(p.grad is None and not p.requires_grad for p in loss.key_projector.parameters())


def test_the_keys_head_follows_with_exactly_the_momentum() -> None:
    loss = moco(8, momentum=0.9)
    expected = [p.detach().clone() for p in loss.projector.parameters()]
    for seed in range(12):
        loss(*batch(seed))
        count = seed - 1  # nothing is taken in before the first step of the optimiser
        keep = 1.0 if seed == 0 else 0.0 if count == 0 else min(0.9, (1 + count) / (10 + count))
        for own, mine in zip(loss.projector.parameters(), expected, strict=True):
            mine.mul_(keep).add_(own.detach(), alpha=1 - keep)
        for mine, theirs in zip(expected, loss.key_projector.module.parameters(), strict=True):
            torch.testing.assert_close(theirs, mine)
        with torch.no_grad():  # a step of the optimiser
            for own in loss.projector.parameters():
                own.add_(torch.randn_like(own), alpha=0.1)


def test_what_moco_cannot_do_is_one_line() -> None:
    with pytest.raises(ReidError, match=r"^moco: a queue of 10 is no multiple of 4 images in a batch$"):
        moco(10)(*batch(0))
    with pytest.raises(UsageError, match=r"the momentum \(ema\) is 0.0: take one between"):
        moco(8, momentum=0.0)
    with pytest.raises(UsageError, match="'queue' is 0: take at least one batch"):
        moco(0)


# --- SimSiam


@given(naive.seeds, st.integers(1, 5))
@settings(deadline=None)
def test_simsiam_equals_the_loops(seed: int, images: int) -> None:
    loss, x = simsiam(), naive.embeddings(2 * images, seed, DIM)
    z = loss.projector(x).detach()
    expected = naive.simsiam(loss.predictor(z).detach(), z)
    assert loss(x, views(images)).value.item() == pytest.approx(expected, abs=1e-5)


def test_simsiams_target_is_constant() -> None:
    loss, labels = simsiam(), views(3)
    x = naive.embeddings(6, 3, DIM).requires_grad_()
    target = naive.unit(loss.projector(x).detach())
    positive = (labels[:, None] == labels).fill_diagonal_(False)

    def with_constant_target(x: Tensor) -> Tensor:
        predicted = torch.nn.functional.normalize(loss.predictor(loss.projector(x)))
        return -(predicted @ target.T)[positive].mean()

    assert torch.autograd.gradcheck(with_constant_target, (x,))
    (wanted,) = torch.autograd.grad(with_constant_target(x), x)
    (found,) = torch.autograd.grad(loss(x, labels).value, x)
    torch.testing.assert_close(found, wanted)


# --- collapse


def outputs(x: Tensor, labels: Tensor) -> dict[str, LossOutput]:
    return {
        "nt_xent": NTXentLoss(DIM, projection=None).double()(x, labels),
        "moco": moco(8)(x, labels),
        "simsiam": simsiam()(x, labels),
    }


def test_a_collapse_is_said_and_its_absence_is_not() -> None:
    apart = naive.embeddings(8, 0, DIM)
    one = apart[:1].expand(8, DIM).clone()
    for x, collapsed in ((apart, False), (one, True)):
        for name, output in outputs(x, views(4)).items():
            line = collapse({"loss": 0.0, f"{name}.spread": float(output.extras["spread"])})
            assert (line is not None) == collapsed, name
            assert line is None or (f"{name}.spread 0.0" in line and "\n" not in line)
    assert collapse({"loss": 0.0, "val_mean_ap": 0.0}) is None


def test_spread_is_one_all_around_the_sphere() -> None:
    around = 3 * torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert float(spread(around)) == pytest.approx(1, abs=0.02)
    assert float(spread(around[:1])) == 0
