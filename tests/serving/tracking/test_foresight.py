"""Where people are expected, and what counts as a surprise."""

import numpy as np

from serving.tracking.foresight import as_expected, expected

A, B = np.array([10.0, 10, 40, 100]), np.array([200.0, 20, 230, 110])


def boxes(*rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows, np.float32).reshape(-1, 4)


def sure(count: int) -> np.ndarray:
    return np.ones(count, np.bool_)


def aside(pixels: float) -> np.ndarray:
    return A + np.array([pixels, 0, pixels, 0])


def iou(count: int, needed: float) -> np.ndarray:
    return np.full(count, needed)


def test_she_goes_on_as_fast_as_in_the_last_half_second() -> None:
    times = [0.0, 1.0, 1.2, 1.5]  # the first is long ago, and she stood then
    seen = [boxes(A)[0], boxes(A)[0], boxes(A + 4)[0], boxes(A + 10)[0]]
    np.testing.assert_allclose(expected(times, seen, 1.8), A + 16, atol=1e-4)
    np.testing.assert_allclose(expected(times, seen, 1.5), A + 10, atol=1e-4)
    assert expected(times[:1], seen[:1], 0.1) is None


def test_everybody_at_her_place_is_no_surprise() -> None:
    assert as_expected([A, B], boxes(B + 3, A - 3), sure(2), iou(2, 0.5))
    assert as_expected([], boxes(), sure(0), iou(0, 0.5))
    assert as_expected(
        [A], boxes(A, B), np.array([True, False]), iou(2, 0.5)
    )  # a doubtful box starts nothing
    assert as_expected([A], boxes(A, A + 8), sure(2), iou(2, 0.5))  # two boxes of one person


def test_surprises() -> None:
    assert not as_expected([A, B], boxes(A), sure(1), iou(1, 0.5))  # B is gone
    assert not as_expected([A], boxes(), sure(0), iou(0, 0.5))
    assert not as_expected([A], boxes(A, B), sure(2), iou(2, 0.5))  # B is new
    assert not as_expected([], boxes(B), sure(1), iou(1, 0.5))
    assert not as_expected([A], boxes(aside(12)), sure(1), iou(1, 0.5))  # IoU 0.43
    assert as_expected([A], boxes(aside(12)), sure(1), iou(1, 0.4))
    assert not as_expected([A, None], boxes(A, B), sure(2), iou(2, 0.5))  # where the second goes is not known
    assert not as_expected([A, aside(15)], boxes(A, aside(15)), sure(2), iou(2, 0.5))  # too near
    assert not as_expected([A, A], boxes(A), sure(1), iou(1, 0.5))  # two at one box
