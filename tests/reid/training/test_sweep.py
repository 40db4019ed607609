from collections.abc import Iterator
from pathlib import Path

import pytest

from reid.config import Params
from reid.errors import ReidError, UsageError
from reid.training.sweep import best_trial, forget, search_space, start_ray
from reid.training.tracking import Tracker


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    import ray

    start_ray()
    yield
    ray.shutdown()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"train.learning_rate": {"lognormal": [1, 2]}}, "lognormal"),
        ({"train.learning_rate": {"uniform": [1]}}, "want 2 values"),
        ({"train.learning_rate": {}}, "nothing"),
    ],
)
def test_a_wrong_search_space_names_the_key(space: dict[str, dict[str, list[float]]], message: str) -> None:
    with pytest.raises(UsageError, match=rf"tune\.space\.train\.learning_rate.*{message}"):
        search_space(space)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_search_keeps_the_best_trial_and_tracks_each(tiny_params: Params, tiny_catalog: Path, tmp_path: Path) -> None:
    tune = tiny_params.tune.model_copy(update={"trials": 2, "space": {"train.learning_rate": {"loguniform": [1e-5, 1e-3]}}})
    params = tiny_params.model_copy(update={"tune": tune})
    tracker = Tracker(params.tracking.uri, params.tracking.experiment)
    parent = tracker.start("batch_hard", {}, {})
    seen: list[int] = []
    folder, figures = best_trial(
        params, "batch_hard", tiny_catalog, start=None, parent=parent, on_result=lambda _, row: seen.append(int(row["step"]))
    )
    assert (folder / "model.safetensors").exists()
    assert max(seen) == params.train.steps
    children = tracker.client.search_runs([tracker.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert len(children) == 2
    statuses = [child.info.status for child in children]
    assert "FINISHED" in statuses
    assert set(statuses) <= {"FINISHED", "KILLED"}  # ASHA may stop the weaker one
    assert all("train.learning_rate" in child.data.params for child in children)
    assert figures["val_mean_ap"] == max(child.data.metrics["val_mean_ap"] for child in children)
    forget(params, folder)
    assert list((tmp_path / "tune").iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_when_every_trial_fails_the_reason_is_told(tiny_params: Params, tmp_path: Path) -> None:
    (tmp_path / "catalog.parquet").write_bytes(b"no catalog")
    with pytest.raises(ReidError, match=r"every trial of batch_hard failed: .*not a Parquet file"):
        best_trial(tiny_params, "batch_hard", tmp_path / "catalog.parquet", start=None, parent="none")
