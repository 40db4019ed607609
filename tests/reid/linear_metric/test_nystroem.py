"""The kernel's explicit features."""

import numpy as np
import pytest

from reid.linear_metric.nystroem import nystroem_map


def unit_rows(count: int, seed: int = 0, dim: int = 5) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def kernel(first: np.ndarray, second: np.ndarray, gamma: float) -> np.ndarray:
    return np.array([[np.exp(-gamma * np.square(x - y).sum()) for y in second] for x in first])


def test_with_every_row_a_landmark_products_are_the_kernel() -> None:
    rows = unit_rows(12)
    mapped = nystroem_map(rows, 12, 4.0, seed=0)
    features = mapped.features(rows)
    np.testing.assert_allclose(features @ features.T, kernel(rows, rows, 4.0), atol=1e-3)


def test_more_landmarks_come_nearer() -> None:
    rows, others = unit_rows(400), unit_rows(50, seed=1)
    wanted = kernel(others, others, 1.0)
    errors = []
    for landmarks in (4, 32, 256):
        features = nystroem_map(rows, landmarks, 1.0, seed=0).features(others)
        errors.append(np.abs(features @ features.T - wanted).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


def test_the_map_is_decided_by_its_seed_and_scaled_by_the_median_distance() -> None:
    rows = unit_rows(300)
    first, again = (nystroem_map(rows, 10, None, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    squared = np.square(rows[:, None] - rows).sum(-1)[np.triu_indices(300, 1)]
    assert first.gamma == pytest.approx(1 / np.median(squared), rel=0.1)
    np.testing.assert_allclose(np.linalg.norm(first.landmarks, axis=1), 1)
    assert np.abs(first.whitening).max() < 1000  # what float32 of an exported graph can bear
