"""The parity gate lets equal answers pass and names the images of unequal ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.errors import ReidError
from reid.parity import (
    Accuracy,
    People,
    check_accuracy,
    check_parity,
    measure_accuracy,
    measure_parity,
)


def _unit(angles: list[float]) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_cosines_worked_by_hand() -> None:
    report = measure_parity(_unit([0, 0, 0]), _unit([0, np.pi / 3, np.pi]), ["a", "b", "c"])
    assert report.images == 3
    assert report.lowest == pytest.approx(-1)
    assert report.median == pytest.approx(0.5)
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
    names = [f"crop {row}" for row in range(50)]
    check_parity(measure_parity(reference, reference.copy(), names), 0.9999, "model.onnx")
    candidate = reference.copy()
    candidate[7] += reference[8]
    report = measure_parity(reference, candidate, names)
    with pytest.raises(
        ReidError,
        match=r"strays .* lowest cosine 0\.\d+, limit 0.99; "
        r"worst images: crop 7 0\.\d+: leave the precision out",
    ):
        check_parity(report, 0.99, "model.int8.onnx")
    check_parity(report, 0.99, "model.int8.onnx", statistic="mean")
    with pytest.raises(ReidError, match=r"mean cosine 0\.99\d+, limit 0.999; worst images: crop 7 "):
        check_parity(report, 0.999, "model.int8.onnx", statistic="mean")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_embedding_without_a_direction_never_passes(value: float) -> None:
    reference = np.ones((3, 4))
    candidate = reference.copy()
    candidate[1] = value
    with pytest.raises(ReidError, match=r"worst images: b -1\.0"):
        check_parity(measure_parity(reference, candidate, ["a", "b", "c"]), 0.0, "model.onnx")


def test_ranking_is_across_cameras_and_its_fall_is_gated() -> None:
    identities, cameras = np.array(["p", "p", "q", "q"]), np.array(["1", "2", "1", "2"])
    people = People(np.zeros((4, 1, 1, 3), np.uint8), identities, cameras)
    right = measure_accuracy(_unit([0.0, 0.1, 1.0, 1.1]), people)
    assert right == Accuracy(rank1=1.0, mean_ap=1.0)
    # Each image of camera 2 moved onto the other person: every first hit is wrong, the right one is last of
    # two or three.
    wrong = measure_accuracy(_unit([0.0, 1.1, 1.0, 0.1]), people)
    assert wrong.rank1 == 0.0
    assert wrong.mean_ap < 0.6
    turned = measure_parity(_unit([0.0, 0.0]), _unit([0.0, 1.0]), ["a", "b"])
    check_accuracy(right, right, 0.0, "model.int8.onnx", turned)
    with pytest.raises(
        ReidError,
        match=r"model\.int8\.onnx in openvino ranks worse .* mAP 1\.0000 falls by 0\.\d+, "
        r"limit 0\.005; worst images: b 0\.54",
    ):
        check_accuracy(right, wrong, 0.005, "model.int8.onnx in openvino", turned)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ReidError, match="no image to compare"):
        measure_parity(np.zeros((0, 4)), np.zeros((0, 4)), [])
    with pytest.raises(ReidError, match="want the same"):
        measure_parity(np.zeros((3, 4)), np.zeros((3, 5)), ["a", "b", "c"])
