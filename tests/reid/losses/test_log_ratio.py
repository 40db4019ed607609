import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import UsageError
from reid.losses import build_loss
from tests.reid.losses import naive


@given(st.integers(1, 8), st.integers(1, 3), naive.seeds, st.sampled_from(["all", "first"]))
@settings(deadline=None)
def test_equals_the_loops(rows, width, seed, anchors):
    x = naive.embeddings(rows, seed)
    # Rounding makes some labels equal, which then have no ratio.
    labels = naive.embeddings(rows, seed + 1, width).round(decimals=0 if width == 1 else 3)
    output = build_loss("log_ratio", anchors=anchors)(x, labels)
    expected = naive.log_ratio(x, labels.tolist(), 1 if anchors == "first" else rows)
    assert float(output.value) == pytest.approx(expected, abs=1e-5)


def test_scalar_labels_by_hand():
    # From row 0 the squared distances are 1 and 4, the label distances 1 and 2: log(1 / 4) - log(1 / 2) =
    # -log 2.
    x, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([3.0, 4.0, 5.0])
    first = build_loss("log_ratio", anchors="first")(x, labels)
    assert float(first.value) == pytest.approx(math.log(2) ** 2)
    # Row 1 lies in the middle: both ratios are 1. Row 2 mirrors row 0.
    assert float(build_loss("log_ratio")(x, labels).value) == pytest.approx(2 / 3 * math.log(2) ** 2)
    # With squared label distances the two proportions are the same.
    assert float(build_loss("log_ratio", squared_labels=True)(x, labels).value) == pytest.approx(0, abs=1e-6)
    assert float(first.active_fraction) == 1
    assert (float(first.mean_positive), float(first.mean_negative)) == (1, 4)


def test_gradients():
    x, labels = naive.embeddings(7, 3).requires_grad_(), naive.embeddings(7, 4, 2)
    for anchors in ("all", "first"):
        assert torch.autograd.gradcheck(
            lambda e, how=anchors: build_loss("log_ratio", anchors=how)(e, labels).value, (x,)
        )


def test_the_scale_of_neither_matters():
    x, labels = naive.embeddings(7, 3), naive.embeddings(7, 4, 2)
    loss = build_loss("log_ratio")
    torch.testing.assert_close(loss(x, labels).value, loss(5 * x, 0.1 * labels).value)


@pytest.mark.parametrize("labels", [torch.zeros(4), torch.tensor([0.0, 0.0, 0.0, 1.0])])
def test_equal_labels_have_no_ratio(labels):
    x = naive.embeddings(4, 0).requires_grad_()
    output = build_loss("log_ratio")(x, labels)
    output.value.backward()
    assert torch.isfinite(x.grad).all()
    # Where the anchor is the odd one out, the three others are at equal label distance and their embeddings
    # are drawn to one distance.
    assert (float(output.value.detach()) > 0) == bool(labels.any())


def test_wrong_options_are_named():
    with pytest.raises(UsageError, match="'second'"):
        build_loss("log_ratio", anchors="second")
