import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.losses.counting import count_exceeding

numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, 1.0000001])


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_counts_equal_the_loops(data):
    rows, slots = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    padded = numbers | st.just(-torch.inf)
    thresholds = torch.tensor(
        data.draw(st.lists(st.lists(padded, min_size=slots, max_size=slots), min_size=rows, max_size=rows))
    )
    width = data.draw(st.integers(1, 5))
    row = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=6)))
    values = torch.tensor(
        data.draw(
            st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=len(row), max_size=len(row))
        )
    )
    number, below = count_exceeding(thresholds, values, row)
    assert number.tolist() == [
        [float((thresholds[r] > v).sum()) for v in line] for r, line in zip(row, values, strict=True)
    ]
    assert below.tolist() == [
        [float((values[row == r] < t).sum()) for t in thresholds[r]] for r in range(rows)
    ]


def test_a_span_too_small_to_divide_by():
    number, below = count_exceeding(
        torch.tensor([[0.0, 0.0, 1.1754944e-38]]), torch.tensor([[0.0]]), torch.tensor([0])
    )
    assert (number.tolist(), below.tolist()) == ([[1.0]], [[0.0, 0.0, 1.0]])


def test_many_equal_thresholds_and_far_values():
    thresholds, values = torch.ones(1, 40), torch.tensor([[0.5, 1.0, 1.5, 1e30]])
    number, below = count_exceeding(thresholds, values, torch.zeros(1, dtype=torch.int64))
    assert number.tolist() == [[40.0, 0.0, 0.0, 0.0]]
    assert below.tolist() == [[1.0] * 40]
