"""KISSME and XQDA against loops over pairs and SciPy's generalised eigenproblem."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError
from reid.linear_metric.likelihood import (
    Pairs,
    all_pairs,
    cross_camera_pairs,
    likelihood_ratio,
    shrunk,
)
from tests.reid.linear_metric.features import hidden_people

CHOICES = {"kissme": all_pairs, "xqda": cross_camera_pairs}


def naive_pairs(rows: np.ndarray, people: np.ndarray, cameras: np.ndarray, across: bool) -> Pairs:
    """Both sums, one pair after the other."""
    sums = [np.zeros((rows.shape[1],) * 2), np.zeros((rows.shape[1],) * 2)]
    counts = [0, 0]
    for i in range(len(rows)):
        for j in range(i):
            if across and cameras[i] == cameras[j]:
                continue
            different = int(people[i] != people[j])
            sums[different] += np.outer(rows[i] - rows[j], rows[i] - rows[j])
            counts[different] += 1
    return (sums[0], counts[0]), (sums[1], counts[1])


def naive_metric(pairs: Pairs) -> np.ndarray:
    """``A^-1 - B^-1``, its negative part cut off where A is the unit."""
    within, between = (total / count for total, count in pairs)
    root = scipy.linalg.sqrtm(within).real
    values, vectors = np.linalg.eigh(root @ (np.linalg.inv(within) - np.linalg.inv(between)) @ root)
    inverse = np.linalg.inv(root)
    return inverse @ (vectors * values.clip(min=0)) @ vectors.T @ inverse


def made_pairs(choose: Callable[..., Pairs], dim: int = 14) -> Pairs:
    made = hidden_people(people=20, dim=dim)
    return choose(made.rows, made.people, made.cameras)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(sorted(CHOICES)))
def test_sums_over_pairs_are_those_of_the_loop(seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((17, 3))
    people, cameras = rng.integers(0, 5, 17), rng.integers(0, 3, 17)
    ours = CHOICES[method](rows, people, cameras)
    for (total, count), (wanted, wanted_count) in zip(
        ours, naive_pairs(rows, people, cameras, method == "xqda"), strict=True
    ):
        assert count == wanted_count
        np.testing.assert_allclose(total, wanted, atol=1e-9)


@pytest.mark.parametrize("method", CHOICES)
def test_the_metric_is_the_difference_of_the_inverses_made_positive(method: str) -> None:
    pairs = made_pairs(CHOICES[method])
    ours = likelihood_ratio(pairs, 0.0, None)
    assert 0 < len(ours) < 14  # something is cut off
    metric = ours.T @ ours
    np.testing.assert_allclose(metric, naive_metric(pairs), atol=1e-6 * np.abs(metric).max())
    assert np.linalg.eigvalsh(metric).min() > -1e-9 * np.abs(metric).max()


def test_xqda_is_the_metric_in_the_subspace_of_the_generalised_eigenproblem() -> None:
    """Liao 2015, section 4: W of ``B w = lambda A w`` with lambda above 1, then ``(W'AW)^-1 - (W'BW)^-1``
    there.
    """
    pairs = made_pairs(cross_camera_pairs)
    within, between = (total / count for total, count in pairs)
    values, vectors = scipy.linalg.eig(between, within)
    subspace = vectors[:, values.real > 1].real
    inner = np.linalg.inv(subspace.T @ within @ subspace) - np.linalg.inv(subspace.T @ between @ subspace)
    wanted = subspace @ inner @ subspace.T
    ours = likelihood_ratio(pairs, 0.0, None)
    np.testing.assert_allclose(ours.T @ ours, wanted, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("method", CHOICES)
def test_an_invertible_linear_map_of_the_embeddings_changes_no_distance(method: str) -> None:
    made = hidden_people(people=20, dim=14)
    turned = made.rows @ np.random.default_rng(7).standard_normal((14, 14))
    distances = []
    for rows in (made.rows, turned):
        seen = rows @ likelihood_ratio(CHOICES[method](rows, made.people, made.cameras), 0.0, None).T
        distances.append(np.square(seen[:, None] - seen[:30]).sum(-1))
    np.testing.assert_allclose(distances[0], distances[1], rtol=1e-6, atol=1e-8)


def test_of_low_rank_the_directions_that_tell_most_are_kept() -> None:
    pairs = made_pairs(all_pairs)
    whole, two = likelihood_ratio(pairs, 0.1, None), likelihood_ratio(pairs, 0.1, 2)
    np.testing.assert_allclose(two, whole[:2])
    within = shrunk(pairs[0][0] / pairs[0][1], 0.1)
    between = pairs[1][0] / pairs[1][1]
    ratios = [row @ between @ row / (row @ within @ row) for row in whole]
    assert ratios == sorted(ratios, reverse=True)


def test_shrinkage_keeps_the_trace_and_ends_at_a_ball() -> None:
    matrix = np.diag([1.0, 2.0, 6.0])
    np.testing.assert_allclose(shrunk(matrix, 1.0), 3 * np.eye(3))
    assert np.trace(shrunk(matrix, 0.3)) == pytest.approx(9)
    np.testing.assert_array_equal(shrunk(matrix, 0.0), matrix)


def test_too_few_pairs_want_shrinkage_and_equal_people_have_no_metric() -> None:
    made = hidden_people(people=4, shots=1)
    pairs = all_pairs(made.rows, made.people, made.cameras)
    with pytest.raises(ReidError, match=r"fewer than the 24 dimensions .* shrinkage above 0"):
        likelihood_ratio(pairs, 0.0, None)
    assert len(likelihood_ratio(pairs, 0.1, None)) > 0
    same, _ = made_pairs(all_pairs)
    with pytest.raises(ReidError, match="differ as much as those of two"):
        likelihood_ratio((same, (0.5 * same[0], same[1])), 0.0, None)
