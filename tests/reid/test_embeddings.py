import numpy as np
import pytest

from reid.embeddings import pool
from reid.errors import ReidError


def unit(rows: object) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def at_angle(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_pooling_is_the_weighted_mean_on_the_sphere() -> None:
    np.testing.assert_allclose(pool(at_angle(0, 90)), at_angle(45)[0], atol=1e-6)
    np.testing.assert_allclose(pool(at_angle(0, 90), [1, 0]), at_angle(0)[0], atol=1e-6)
    rows, weights = unit(np.random.default_rng(0).standard_normal((7, 5))), np.arange(7)
    np.testing.assert_allclose(pool(rows, weights), unit((rows * weights[:, None]).sum(axis=0)), atol=1e-6)
    np.testing.assert_allclose(pool(rows, weights * 1e-6), pool(rows, weights), atol=1e-6)
    assert pool(rows).dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "weights", "message"),
    [
        (at_angle(0, 180), None, "mean .* is zero"),
        (at_angle(0, 10), [0, 0], "mean .* is zero"),
        (at_angle(0, 10), [1, -1], "finite number of 0 or more"),
        (at_angle(0, 10), [1, float("nan")], "finite number of 0 or more"),
        (at_angle(0, 10), [1], "do not fit 2 embeddings"),
        (np.empty((0, 2)), None, "without an embedding"),
    ],
)
def test_what_cannot_be_pooled_is_refused(rows: np.ndarray, weights: object, message: str) -> None:
    with pytest.raises(ReidError, match=message):
        pool(rows, weights)
