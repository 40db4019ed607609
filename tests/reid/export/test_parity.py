"""The parity gate lets equal answers pass and names the images of unequal ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.errors import ReidError
from reid.export.parity import check_parity, measure_parity


def _unit(angles: list[float]) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_cosines_worked_by_hand() -> None:
    report = measure_parity(_unit([0, 0, 0]), _unit([0, np.pi / 3, np.pi]), ["a", "b", "c"])
    assert report.images == 3
    assert report.lowest == pytest.approx(-1)
    assert report.mean == pytest.approx((1 + 0.5 - 1) / 3)
    assert [name for name, _ in report.worst] == ["c", "b", "a"]


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_scale_does_not_matter_and_order_of_rows_only_moves_the_names(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 8, 5))
    names = [f"i{row}" for row in range(8)]
    report = measure_parity(a, b, names)
    order = rng.permutation(8)
    moved = measure_parity(a[order] * scale, b[order], [names[row] for row in order])
    assert moved.lowest == pytest.approx(report.lowest)
    assert [name for name, _ in moved.worst] == [name for name, _ in report.worst]


def test_one_bad_image_stops_the_file_and_is_named() -> None:
    reference = np.random.default_rng(0).normal(size=(50, 16))
    candidate = reference.copy()
    check_parity(reference, candidate, 0.9999, [str(row) for row in range(50)], "model.onnx")
    candidate[7] += reference[8]
    with pytest.raises(ReidError, match=r"model\.int8\.onnx strays .* limit 0.99; worst images: crop 7 0\.\d+$"):
        check_parity(reference, candidate, 0.99, [f"crop {row}" for row in range(50)], "model.int8.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_embedding_without_a_direction_never_passes(value: float) -> None:
    reference = np.ones((3, 4))
    candidate = reference.copy()
    candidate[1] = value
    with pytest.raises(ReidError, match=r"worst images: b -1\.0"):
        check_parity(reference, candidate, 0.0, ["a", "b", "c"], "model.onnx")


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ReidError, match="no image to compare"):
        measure_parity(np.zeros((0, 4)), np.zeros((0, 4)), [])
    with pytest.raises(ReidError, match="want the same"):
        measure_parity(np.zeros((3, 4)), np.zeros((3, 5)), ["a", "b", "c"])
