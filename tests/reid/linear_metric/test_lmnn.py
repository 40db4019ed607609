"""LMNN against loops written from the paper's equations."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize

from reid.errors import ReidError
from reid.linear_metric import lmnn as module
from reid.linear_metric.lmnn import Triplets, find_impostors, find_targets, lmnn, loss_and_gradient
from tests.reid.linear_metric.features import Made, hidden_people


def small(seed: int = 0) -> Made:
    made = hidden_people(people=7, cameras=2, shots=2, dim=13, seed=seed)
    return made.of(np.arange(len(made.people)) != 3)  # one with fewer pictures


def naive_loss(
    matrix: np.ndarray, rows: np.ndarray, triplets: Triplets, push: float, shrinkage: float, start: np.ndarray
) -> float:
    """Equations 11 to 13 of Weinberger and Saul 2009, pair by pair."""

    def squared(x: int, y: int) -> float:
        difference = rows[x] - rows[y]
        return float(difference @ matrix.T @ matrix @ difference)

    total = 0.0
    for place, anchor in enumerate(triplets.anchors):
        for target in triplets.targets[place]:
            if target == anchor:
                continue
            total += (1 - push) * squared(anchor, target)
            for impostor in triplets.impostors[triplets.places == place]:
                total += push * max(0.0, 1 + squared(anchor, target) - squared(anchor, impostor))
    return total / len(triplets.anchors) + shrinkage * float(np.square(matrix - start).sum())


def drawn(made: Made, dim: int, seed: int) -> tuple[np.ndarray, Triplets]:
    rng = np.random.default_rng(seed)
    matrix = 0.2 * rng.standard_normal((dim, made.rows.shape[1]))
    anchors, targets = find_targets(made.rows, made.people, made.cameras, 3)
    return matrix, Triplets(
        anchors, targets, *find_impostors(made.rows @ matrix.T, made.people, anchors, targets)
    )


@pytest.mark.parametrize(("dim", "push", "shrinkage"), [(5, 0.5, 0.0), (3, 0.7, 0.4)])
def test_the_loss_is_the_papers_and_its_slope_is_the_losss(dim: int, push: float, shrinkage: float) -> None:
    made = small()
    matrix, triplets = drawn(made, dim, seed=dim)
    start = np.random.default_rng(1).standard_normal(matrix.shape)
    assert len(triplets.places) > 50
    assert (triplets.targets == triplets.anchors[:, None]).any()  # somebody has fewer than three
    rest = made.rows, triplets, push, shrinkage, start
    value, slope = loss_and_gradient(matrix, *rest)
    assert value == pytest.approx(naive_loss(matrix, *rest), rel=1e-10)
    numeric = scipy.optimize.approx_fprime(
        matrix.ravel(), lambda flat: naive_loss(flat.reshape(matrix.shape), *rest), 1e-6
    )
    np.testing.assert_allclose(slope.ravel(), numeric, rtol=1e-3, atol=1e-3 * np.abs(numeric).max())


def test_targets_are_the_nearest_of_another_camera_where_there_is_one() -> None:
    rows = np.array([[0.0], [0.1], [1.0], [3.0], [9.0], [9.5], [20.0]])
    people = np.array([0, 0, 0, 0, 1, 1, 2])
    cameras = np.array([0, 0, 1, 1, 0, 0, 0])
    anchors, targets = find_targets(rows, people, cameras, 2)
    assert dict(zip(anchors.tolist(), targets.tolist(), strict=True)) == {
        0: [2, 3],
        1: [2, 3],
        2: [1, 0],
        3: [1, 0],
        4: [5, 4],  # one camera alone: of that, and itself in place of a second
        5: [4, 5],
    }
    with pytest.raises(ReidError, match="nobody has two pictures"):
        find_targets(rows[:3], np.arange(3), cameras[:3], 2)


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_impostors_are_the_nearest_within_the_margin(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    made = hidden_people(people=12, dim=13)
    seen = 0.3 * made.rows
    anchors, targets = find_targets(seen, made.people, made.cameras, 3)
    places, impostors = find_impostors(seen, made.people, anchors, targets)
    found = {place: set(impostors[places == place].tolist()) for place in range(len(anchors))}
    for place, anchor in enumerate(anchors):
        squared = np.square(seen - seen[anchor]).sum(1)
        reach = 1 + squared[targets[place]].max()
        others = [row for row in np.argsort(squared) if made.people[row] != made.people[anchor]]
        near = [row for row in others if squared[row] < reach][: module._MOST_IMPOSTORS]
        assert found[place] == set(near)


def test_the_steps_go_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same triplets, the loss at the end of each round is below that at its beginning."""
    made = hidden_people(people=20)
    values: list[float] = []
    minimize = scipy.optimize.minimize

    def watched(fun, start, **options):  # type: ignore[no-untyped-def]
        result = minimize(fun, start, **options)
        values.extend((fun(start)[0], float(result.fun)))
        return result

    monkeypatch.setattr(scipy.optimize, "minimize", watched)
    rows = made.rows - made.rows.mean(0)
    found = lmnn(rows, made.people, made.cameras, 6, 0.0)
    assert found.shape == (6, 24)
    assert np.linalg.eigvalsh(found.T @ found).min() > -1e-9
    assert all(end < begin for begin, end in list(pairwise(values))[::2])
