import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.losses import counting
from reid.losses.counting import count_exceeding

numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, 1.0000001])


@pytest.fixture(params=["passes", "grid", "halving"])
def way(request, monkeypatch):
    """Each of the three ways to count, forced on the same small input."""
    monkeypatch.setattr(counting, "_FEW", 10**6 if request.param == "passes" else 0)
    monkeypatch.setattr(counting, "_CROWDED", 0 if request.param == "halving" else 10**6)
    return request.param


@given(st.data())
@settings(deadline=None, max_examples=150)
def check(data):
    rows, slots = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    padded = numbers | st.just(-torch.inf)
    thresholds = torch.tensor(data.draw(st.lists(st.lists(padded, min_size=slots, max_size=slots), min_size=rows, max_size=rows)))
    width = data.draw(st.integers(1, 5))
    row = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=6)))
    values = torch.tensor(data.draw(st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=len(row), max_size=len(row))))
    number, below = count_exceeding(thresholds, values, row)
    assert number.tolist() == [[float((thresholds[r] > v).sum()) for v in line] for r, line in zip(row, values, strict=True)]
    assert below.tolist() == [[float((values[row == r] < t).sum()) for t in thresholds[r]] for r in range(rows)]


def test_counts_equal_the_loops(way):
    check()


def test_a_span_too_small_to_divide_by(way):
    number, below = count_exceeding(torch.tensor([[0.0, 0.0, 1.1754944e-38]]), torch.tensor([[0.0]]), torch.tensor([0]))
    assert (number.tolist(), below.tolist()) == ([[1.0]], [[0.0, 0.0, 1.0]])


def test_many_equal_thresholds_and_far_values(way):
    thresholds, values = torch.ones(1, 40), torch.tensor([[0.5, 1.0, 1.5, 1e30]])
    number, below = count_exceeding(thresholds, values, torch.zeros(1, dtype=torch.int64))
    assert number.tolist() == [[40.0, 0.0, 0.0, 0.0]]
    assert below.tolist() == [[1.0] * 40]


def test_the_way_is_chosen_by_the_thresholds(monkeypatch):
    called = []
    for name in ("_by_passes", "_by_grid", "_by_halving"):
        original = getattr(counting, name)
        monkeypatch.setattr(counting, name, lambda *args, name=name, original=original: called.append(name) or original(*args))
    values = torch.rand(6, 6)
    for thresholds in (torch.rand(6, 3), torch.rand(6, 200), torch.ones(6, 200)):
        count_exceeding(thresholds, values)
    assert called == ["_by_passes", "_by_grid", "_by_halving"]
