"""From distances to certainties: the fit against scipy's minimum of the same loss, and what it must give."""

import numpy as np
import pytest
from scipy.optimize import minimize

from reid.card import Certainty
from reid.evaluation.certainty import fit_certainty, prior_of, tracklet_certainty


def drawn(seed: int, own: int = 300, other: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(0.6, 0.15, own), 0, 2), np.clip(rng.normal(1.1, 0.15, other), 0, 2)


def plain_loss(theta: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    """Platt's loss written from the paper: targets (N+1)/(N+2) and 1/(N+2); each class counts one half."""
    loss = 0.0
    for distances, target in ((own, (len(own) + 1) / (len(own) + 2)), (other, 1 / (len(other) + 2))):
        chance = 1 / (1 + np.exp(-theta[1] * (theta[0] - distances)))
        cross = -target * np.log(chance) - (1 - target) * np.log(1 - chance)
        loss += 0.5 * float(np.mean(cross))
    return loss


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_the_minimum_of_the_loss(seed: int) -> None:
    own, other = drawn(seed)
    fitted = fit_certainty(own, other)
    best = minimize(plain_loss, [0.8, 10.0], args=(own, other), method="Nelder-Mead", options={"xatol": 1e-7})
    assert plain_loss(np.array([fitted.middle, fitted.slope]), own, other) <= best.fun + 1e-9
    assert [fitted.middle, fitted.slope] == pytest.approx(best.x, rel=1e-2)
    assert (fitted.genuine, fitted.impostor) == (len(own), len(other))


def test_classes_apart_and_swapped_have_finite_answers() -> None:
    apart = fit_certainty([0.2, 0.3], [1.2, 1.3])
    assert 0.3 < apart.middle < 1.2 and apart.of(0.25, 0.5) > 0.6 > 0.4 > apart.of(1.25, 0.5)
    swapped = fit_certainty([1.2, 1.3], [0.2, 0.3])  # a model that knows nothing: all is as likely
    assert abs(float(swapped.of(0.2, 0.5)) - float(swapped.of(1.3, 0.5))) < 0.01
    assert np.isfinite(fit_certainty([0.5], [0.5]).of([0.0, 2.0], 0.01)).all()


def test_chances_are_those_of_the_pairs() -> None:
    own, other = drawn(9, 20_000, 20_000)
    fitted = fit_certainty(own, other)
    distances, same = np.concatenate([own, other]), np.repeat([1.0, 0.0], 20_000)
    chance = fitted.of(distances, 0.5)
    for low in np.arange(0.05, 0.95, 0.1):
        some = (chance >= low) & (chance < low + 0.1)
        assert same[some].mean() == pytest.approx(chance[some].mean(), abs=0.06)


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_the_share_of_a_person_is_found(share: float) -> None:
    own, other = drawn(11, 20_000, 20_000)
    fitted = fit_certainty(own, other)
    count = int(20_000 * share)
    seen = np.concatenate([own[:count], other[: 20_000 - count]]).astype(np.float32)
    assert prior_of(fitted, seen) == pytest.approx(share, rel=0.25)
    assert prior_of(fitted, np.zeros(0, np.float32)) == 0.5
    nobody = prior_of(fitted, other[:1000].astype(np.float32))
    assert nobody < 0.01 and float(fitted.of(1.1, nobody)) < 0.01


def test_pairs_are_of_different_cameras_and_not_of_junk() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 16))
    rows = np.repeat(centres, 2, axis=0) + 0.2 * rng.standard_normal((12, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    who = np.repeat(["1", "2", "3", "4", "5", "-1"], 2)
    found = tracklet_certainty(rows, who, np.tile(["a", "b"], 6))
    assert found is not None and (found.genuine, found.impostor) == (5, 20)
    assert isinstance(found, Certainty)
    assert tracklet_certainty(rows, who, np.full(12, "a")) is None
    assert tracklet_certainty(rows[:2], who[:2], np.array(["a", "b"])) is None  # nobody else
