"""What a finished training leaves in MLflow's store: the stage itself, with the training in this process
instead of under Ray.
"""

import shutil
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipelines.stage.run_log import REGISTERED
from pipelines.train import train_objective
from reid.config import Params, with_values
from reid.errors import ReidError
from reid.files import read_json
from reid.models.embedder import load_model
from reid.models.inference import embed_images
from reid.training import sweep
from reid.training.sweep import SweepResult
from reid.training.trial import run_training

HERE = Path("models/hierarchical")


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def train_here(params: Params, objective: str, catalog: Path, **_: Any) -> SweepResult:
        folder = Path("trial")
        folder.mkdir()
        return SweepResult(folder, run_training(params, objective, catalog, folder), {})

    monkeypatch.setattr(sweep, "best_trial", train_here)


@pytest.mark.usefixtures("no_ray")
def test_everything_that_people_look_at_reaches_the_store(
    tiny_params: Params,
    tiny_catalog: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mlflow_schema: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlflow_schema, "mlflow.db")
    params = with_values(tiny_params, {"evaluate.ranked_queries": 2})
    train_objective(params, "hierarchical", tiny_catalog, None, HERE, Path("reports"))
    client = MlflowClient(tiny_params.tracking.uri)
    facts = read_json(HERE / "training.json")
    run = client.get_run(facts["mlflow_run_id"])
    assert run.info.status == "FINISHED"

    steps = [2, 4, 6]
    for curve in (
        "loss",
        "hierarchical.active_fraction",
        "hierarchical.mean_positive",
        "hierarchical.mean_negative",
        "val_mean_ap",
    ):
        assert [point.step for point in client.get_metric_history(run.info.run_id, curve)] == steps, curve
    assert run.data.params["train.learning_rate"] == str(tiny_params.train.learning_rate)
    origin = {"git_commit", "git_dirty", "data_hash", "seed", "python", "version.torch", "model_sha256"}
    assert origin <= run.data.tags.keys()

    folder = Path(client.download_artifacts(run.info.run_id, ".", str(tmp_path)))
    assert "torch==" in (folder / "environment/packages.txt").read_text()
    pictures = {path.stem: cv2.imread(str(path)) for path in (folder / "pictures").iterdir()}
    assert pictures.keys() == {"class_tree", "cmc", "distances", "hardest_pairs", "map", "ranked_lists"}
    assert all(picture is not None and picture.std() > 5 for picture in pictures.values()), (
        "nobody looks at an empty picture"
    )

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tiny_params.tracking.uri)
    model = mlflow.pyfunc.load_model(f"models:/{REGISTERED}/1")
    (images,) = model.metadata.signature.inputs
    assert (images.type, images.shape) == (np.uint8, (-1, 32, 16, 3))
    example = np.asarray(model.input_example, np.uint8)
    np.testing.assert_allclose(
        model.predict(example), embed_images(load_model(HERE / "model.safetensors")[0], example), atol=1e-6
    )
    version = client.get_model_version(REGISTERED, "1")
    assert version.run_id == run.info.run_id
    assert float(version.tags["val_mean_ap"]) == facts["figures"]["val_mean_ap"]
    assert not Path("records").exists() or not list(Path("records").iterdir())


def test_a_training_that_fails_closes_its_run(
    tiny_params: Params,
    tiny_catalog: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mlflow_schema: Path,
) -> None:
    def fail(*_: Any, **__: Any) -> SweepResult:
        raise ReidError("every trial of batch_hard failed: no luck")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "best_trial", fail)
    shutil.copy(mlflow_schema, "mlflow.db")
    with pytest.raises(ReidError, match="no luck"):
        train_objective(tiny_params, "batch_hard", tiny_catalog, None, HERE, Path("reports"))
    (run,) = MlflowClient(tiny_params.tracking.uri).search_runs(["1"])
    assert run.info.status == "FAILED"
    assert not HERE.exists()
