"""Cross-batch memory: the formula, what is in the memory, and who gets a gradient."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.errors import ReidError, UsageError
from reid.losses import build_loss
from reid.losses.cross_batch_memory import CrossBatchMemoryLoss
from tests.reid.losses import naive

DIM = 5


def built(memory: int = 12, margin: float = 0.1, start: int = 0) -> CrossBatchMemoryLoss:
    loss = build_loss("cross_batch_memory", embedding_dim=DIM, memory=memory, margin=margin, start=start)
    assert isinstance(loss, CrossBatchMemoryLoss)
    return loss.double()


def batch(seed: int, rows: int = 4) -> tuple[Tensor, Tensor]:
    return naive.embeddings(rows, seed, DIM), torch.arange(rows) % 2 + seed % 2


@pytest.mark.parametrize("start", [0, 2])
def test_it_equals_the_loops_while_the_memory_goes_round(start: int) -> None:
    """Batches of different sizes, which run over the memory's end."""
    loss, earlier = built(12, 0.1, start), []
    for seed, rows in enumerate((4, 5, 3, 5, 4, 6)):
        x, labels = batch(seed, rows)
        seen = earlier[-(12 - rows) :] if seed >= start else []
        output = loss(x, labels)
        assert output.value.item() == pytest.approx(
            naive.cross_batch_memory(x, labels.tolist(), seen, 0.1), abs=1e-6
        ), seed
        earlier += list(zip(naive.unit(x), labels.tolist(), strict=True))
    assert int(loss.taken) == 27 and int(loss.batches) == 6
    kept = sorted(map(tuple, torch.stack([row for row, _ in earlier[-12:]]).tolist()))
    torch.testing.assert_close(torch.tensor(sorted(map(tuple, loss.entries.tolist()))), torch.tensor(kept))


@given(naive.any_labels, naive.seeds, st.sampled_from([-1.0, 0.0, 0.5]))
@settings(deadline=None)
def test_one_batch_is_the_contrastive_loss_of_its_pairs(y: list[int], seed: int, margin: float) -> None:
    x = naive.embeddings(len(y), seed, DIM)
    output = built(16, margin)(x, torch.tensor(y))
    assert output.value.item() == pytest.approx(naive.cross_batch_memory(x, y, [], margin), abs=1e-6)


def test_by_hand() -> None:
    # Two people at right angles, then one of them again at 45 degrees between both.
    loss = CrossBatchMemoryLoss(2, memory=4, margin=0.5, start=0).double()
    first = loss(torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64), torch.tensor([7, 8]))
    assert (float(first.value), float(first.active_fraction)) == (0, 0)
    second = loss(torch.tensor([[1.0, 1.0]], dtype=torch.float64), torch.tensor([7]))
    root = 0.5**0.5
    assert float(second.value) == pytest.approx((1 - root) + (root - 0.5))
    assert float(second.active_fraction) == 1
    assert (float(second.mean_positive), float(second.mean_negative)) == (0, 0)  # one row has no pair


def test_a_row_s_own_entry_is_not_its_positive() -> None:
    loss = built()
    output = loss(naive.embeddings(1, 0, DIM), torch.tensor([3]))
    assert (float(output.value), float(output.active_fraction)) == (0, 0)
    # Of the next batch it is one, however near.
    assert float(loss(-naive.embeddings(1, 0, DIM), torch.tensor([3])).value) == pytest.approx(2)


def test_the_memory_gets_no_gradient_and_the_batch_the_right_one() -> None:
    loss = built()
    x, labels = batch(0)
    loss(x.requires_grad_(), labels)
    assert not loss.entries.requires_grad and not list(loss.parameters())
    x, labels = batch(1)

    def value(rows: Tensor) -> Tensor:
        return deepcopy(loss)(rows, labels).value

    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(leaf), leaf)
    earlier = torch.cat([loss.entries[:4], naive.unit(x)])
    their_labels = torch.cat([loss.entry_labels[:4], labels])

    def against_constants(rows: Tensor) -> Tensor:
        cosines = torch.nn.functional.normalize(rows) @ earlier.T
        costs = torch.where(labels[:, None] == their_labels, 1 - cosines, (cosines - 0.1).relu())
        return costs[~torch.eye(8, dtype=torch.bool)[4:]].sum() / 4

    assert torch.autograd.gradcheck(against_constants, (leaf,))
    (wanted,) = torch.autograd.grad(against_constants(leaf), leaf)
    torch.testing.assert_close(found, wanted)


def test_two_batches_may_be_seen_before_the_first_gives_its_gradient() -> None:
    loss = built()
    leaves = [batch(seed)[0].requires_grad_() for seed in range(2)]
    values = [loss(x, batch(seed)[1]).value for seed, x in enumerate(leaves)]
    for value, x in zip(values, leaves, strict=True):
        value.backward()
        assert torch.count_nonzero(x.grad) > 0


def test_in_evaluation_the_memory_stands_still() -> None:
    loss = built()
    loss(*batch(0))
    before = deepcopy(loss.state_dict())
    loss.eval()
    first, second = (loss(*batch(1)).value for _ in range(2))
    assert torch.equal(first, second) and float(first) > 0
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_what_it_cannot_do_is_one_line() -> None:
    with pytest.raises(ReidError, match=r"^cross_batch_memory: a memory of 3 is less than a batch of 4: "):
        built(3)(*batch(0))
    for option, value in (("memory", 0), ("start", -1)):
        with pytest.raises(UsageError, match=rf"'{option}' is {value}: take at least"):
            built(**{option: value})
    for margin in (1.0, -1.5):
        with pytest.raises(UsageError, match=rf"'margin' is {margin}: take a cosine from -1 to below 1"):
            built(margin=margin)
