"""Metrics fitted to people and judged on others; what goes into their file, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from reid.evaluation import rank_gallery
from reid.linear_metric import METHODS, FittedMetric, fit_metric, load_fitted_metric
from tests.reid.linear_metric.features import Made, hidden_people, hidden_rings


def mean_ap(embeddings: np.ndarray, made: Made) -> float:
    sides = embeddings, made.people, made.cameras
    return float(rank_gallery(*sides, *sides).mean_ap)


def halves(made: Made) -> tuple[Made, Made]:
    """Some people, and other people."""
    return made.of(made.people % 2 == 0), made.of(made.people % 2 == 1)


def fitted(made: Made, method: Any, **options: Any) -> FittedMetric:
    return fit_metric(made.rows, made.people, made.cameras, method, **options).metric


@pytest.mark.parametrize("method", METHODS)
def test_it_finds_people_never_seen_whom_euclid_does_not(method: str) -> None:
    training, others = halves(hidden_people(people=120))
    metric = fitted(training, method, shrinkage=0.01, dim=6)
    assert mean_ap(others.rows / np.linalg.norm(others.rows, axis=1, keepdims=True), others) < 0.3
    assert mean_ap(metric.apply(others.rows), others) > 0.8
    full = fitted(training, method, shrinkage=0.01)
    matrix = full.weight.astype(np.float64)
    assert np.linalg.eigvalsh(matrix.T @ matrix).min() > -1e-6 * np.square(matrix).sum()


def test_a_kernel_finds_what_no_linear_map_does() -> None:
    training, others = halves(hidden_rings(people=120))
    with pytest.raises(ReidError, match="differ as much as those of two in every direction"):
        fitted(training, "kissme")
    kernel = fitted(training, "kissme", landmarks=40, shrinkage=0.001)
    assert mean_ap(others.rows / np.linalg.norm(others.rows, axis=1, keepdims=True), others) < 0.3
    assert mean_ap(kernel.apply(others.rows), others) > 0.6


def test_what_comes_out_is_l_of_the_embedding_less_the_centre() -> None:
    """And its distances are those of the docstring: angles by M around the centre."""
    made = hidden_people()
    unit = made.rows / np.linalg.norm(made.rows, axis=1, keepdims=True)
    metric = fitted(made, "xqda")
    matrix, centre = metric.weight.astype(np.float64), unit.mean(0)
    np.testing.assert_allclose(metric.bias, -matrix @ centre, rtol=1e-3, atol=1e-3 * np.abs(matrix).max())
    moved = (unit[:40] - centre) @ matrix.T
    inner = moved @ moved.T
    norms = np.sqrt(np.diag(inner))
    wanted = 2 - 2 * inner / np.outer(norms, norms)
    rows = metric.apply(3.0 * made.rows[:40])  # of any length
    np.testing.assert_allclose(np.square(rows[:, None] - rows).sum(-1), wanted, atol=1e-3)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("landmarks", [None, 20])
def test_its_file_is_read_as_it_was_written(tmp_path: Path, landmarks: int | None) -> None:
    made = hidden_people()
    metric = fitted(made, "xqda", landmarks=landmarks, seed=4)
    metric.save(tmp_path / "metric.safetensors")
    again = load_fitted_metric(tmp_path / "metric.safetensors")
    np.testing.assert_array_equal(again.apply(made.rows), metric.apply(made.rows))
    assert (again.dim, again.input_dim) == (metric.dim, 24)
    assert fitted(made, "xqda", landmarks=landmarks, seed=4).to_bytes() == metric.to_bytes()
    content = (tmp_path / "metric.safetensors").read_bytes()
    (tmp_path / "metric.safetensors").write_bytes(content[:-4])
    with pytest.raises(ReidError, match="cannot be read"):
        load_fitted_metric(tmp_path / "metric.safetensors")
    FittedMetric(metric.weight, metric.bias[:-1]).save(tmp_path / "metric.safetensors")
    with pytest.raises(ReidError, match="want finite weight and bias"):
        load_fitted_metric(tmp_path / "metric.safetensors")
    with pytest.raises(ReidError, match="embeddings of 7 numbers for a metric fitted to 24"):
        metric.apply(np.ones((1, 7)))


def test_what_nothing_can_be_learnt_from_is_one_line() -> None:
    made = hidden_people(people=6)
    one_camera = np.zeros_like(made.cameras)

    def refused(
        kind: type[ReidError], words: str, data: Made = made, method: Any = "kissme", **options: Any
    ) -> None:
        with pytest.raises(kind, match=words) as caught:
            fit_metric(data.rows, data.people, data.cameras, method, **options)
        assert "\n" not in str(caught.value)

    refused(ReidError, "nobody is seen by two cameras", Made(made.rows, made.people, one_camera), "xqda")
    refused(ReidError, "the pictures show 1 person", made.of(made.people == 2))
    single = made.of(np.unique(made.people, return_index=True)[1])
    for method in METHODS:
        refused(ReidError, "nobody has two pictures", single, method)
    spoiled = made.rows.copy()
    spoiled[5, 3] = np.nan
    refused(
        ReidError, r"NaN or infinity in 1 of 36 rows \(first: 5\)", Made(spoiled, made.people, made.cameras)
    )
    refused(UsageError, "dim is 25: want 1 to 24, the numbers of the embedding", dim=25)
    refused(UsageError, "dim is 25: want 1 to .*features of the kernel", dim=25, landmarks=10)
    refused(UsageError, "shrinkage is 1.5", shrinkage=1.5)
    refused(UsageError, "method 'mahalanobis' is unknown", method="mahalanobis")
    # Of one camera the others learn all the same.
    for method in ("kissme", "lmnn"):
        assert fitted(Made(made.rows, made.people, one_camera), method).dim > 0


def test_few_and_single_pictures_are_said() -> None:
    made = hidden_people(people=3, shots=2)
    few = made.of(np.r_[0:8, 8])  # the last person has one picture
    said = fit_metric(few.rows, few.people, few.cameras, "kissme").said
    assert said[0] == "1 of 3 people have one picture: they count as strangers alone"
    assert said[1].startswith("12 pairs of one person for 24 dimensions: the shrinkage of 0.1 stands for")
    junk = np.where(few.people == 0, "-1", few.people.astype(str))
    assert fit_metric(few.rows, junk, few.cameras, "kissme").people == 2
    whole = hidden_people(people=120)
    said = fit_metric(whole.rows, whole.people, whole.cameras, "kissme", dim=24, shrinkage=0.0).said
    assert len(said) == 1 and said[0].endswith("directions tell people apart, not 24: they are the metric")
