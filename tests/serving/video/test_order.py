"""Clocks, orders and rates out of what containers say, against small cases worked out by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.video.order import UNKNOWN, continuous, display_order, frame_rate, steady_times

MS = Fraction(1, 1000)


def ints(*values: int | None) -> np.ndarray:
    return np.array([UNKNOWN if value is None else value for value in values], np.int64)


def test_a_clock_that_runs_is_left_alone() -> None:
    pts, dts = ints(0, 300, 100, 200, 9_000_000), ints(-100, 0, 100, 200, 300)
    times, part = continuous(pts, dts, MS)
    np.testing.assert_array_equal(times, pts)
    np.testing.assert_array_equal(part, 0)
    np.testing.assert_array_equal(display_order(times, part), [0, 2, 3, 1, 4])


def test_a_clock_that_is_set_back_goes_on_a_frame_later() -> None:
    pts = ints(5000, 5100, 5200, 0, 200, 100)
    times, part = continuous(pts, ints(4900, 5000, 5100, -100, 0, 100), MS)
    np.testing.assert_array_equal(times, [5000, 5100, 5200, 5300, 5500, 5400])
    np.testing.assert_array_equal(part, [0, 0, 0, 1, 1, 1])


def test_a_clock_that_turns_over_stays_in_order_around_the_turn() -> None:
    base, step = Fraction(1, 90_000), 9000
    true = 2**33 - 2 * step + step * np.array([0, 3, 1, 2, 6, 4, 5])  # of showing, in order of decoding
    clock = 2**33 - 4 * step + step * np.arange(7)
    times, part = continuous(true % 2**33, clock % 2**33, base)
    np.testing.assert_array_equal(times, true)
    np.testing.assert_array_equal(part, 0)


def test_unknown_times_of_decoding_at_the_front_are_no_reason() -> None:
    pts = ints(0, 4000, 2000, 8000, 6000)
    times, part = continuous(pts, ints(None, None, 0, 2000, 4000), MS)
    np.testing.assert_array_equal(times, pts)
    assert not part.any()


def test_times_between_known_ones_are_even() -> None:
    np.testing.assert_allclose(
        steady_times(ints(None, 100, None, None, 400, None), 10, MS), np.arange(6) / 10, atol=1e-9
    )
    np.testing.assert_allclose(steady_times(ints(None, None, None), 4, MS), [0, 0.25, 0.5])


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=50))
def test_times_of_packets_never_fall(steps: list[int]) -> None:
    times = np.cumsum(steps).astype(np.int64)
    assert (np.diff(continuous(times, times, MS)[0]) > 0).all()
    assert (np.diff(steady_times(times, 10, MS)) >= 0).all()


@pytest.mark.parametrize(
    ("times_s", "stated", "rate"),
    [
        (np.arange(50) / 25, [Fraction(25)], 25),
        (np.round(np.arange(50) * 1001 / 30, 0) / 1000, [Fraction(30000, 1001)], 30000 / 1001),
        (np.arange(50) / 10, [Fraction(1000)], 10),
        (np.arange(50) / 10, [Fraction(90_000), None, Fraction(20)], 10),
        (np.arange(50) / 25, [Fraction(50), Fraction(25)], 25),
        (np.arange(50) * 2.0, [Fraction(1, 2)], 0.5),
        (np.r_[np.arange(20) / 10, 600 + np.arange(20) / 10], [Fraction(1, 15)], 10),
        (np.zeros(1), [Fraction(12)], 12),
        (np.zeros(1), [Fraction(90_000)], 25),
    ],
)
def test_the_rate_is_what_the_times_bear_out(
    times_s: np.ndarray, stated: list[Fraction | None], rate: float
) -> None:
    assert frame_rate(times_s, stated) == pytest.approx(rate, rel=1e-3)
