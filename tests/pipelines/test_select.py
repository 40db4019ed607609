"""The champion: replaced by what is better on the same validation people, and by nothing else."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from pipelines import select
from pipelines.stage.run_log import REGISTERED
from reid.config import Params, load_params, with_values
from reid.data.catalog import read_catalog, write_catalog
from reid.files import sha256_of
from reid.models.embedder import ModelSpec, build_model, load_model, save_model
from reid.models.inference import embed_images
from reid.training.champion import present_champion
from reid.training.packaging import save_pyfunc
from reid.training.tracking import Tracker
from reid.training.trial import load_training_data
from reid.training.validation import validate

KEY = "val_mean_ap"
SPEC = ModelSpec(weights="none", height=32, width=16)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path) -> Params:
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlflow_schema, "mlflow.db")
    return load_params(Path(__file__).parents[2] / "params.yaml")


def people(first: int) -> None:
    """A catalog of two people to train on and four to validate with, numbered from ``first``."""
    generator, rows = np.random.default_rng(first), []
    Path("data").mkdir(exist_ok=True)
    for person in range(first, first + 6):
        for camera in "12":
            for image in range(2):
                path = Path(f"data/{person}_{camera}_{image}.png")
                cv2.imwrite(str(path), generator.integers(0, 255, (32, 16, 3), np.uint8))
                row: dict[str, Any] = {
                    "path": path.name,
                    "identity": f"p{person}",
                    "camera": camera,
                    "width": 16,
                    "height": 32,
                }
                rows.append(
                    row | {"split": "train" if person < first + 2 else "val", "sha256": sha256_of(path)}
                )
    write_catalog(rows, "data/catalog.parquet")


def trained(params: Params, figure: float, seed: int) -> dict[str, Any]:
    """What the training stage leaves: a registered model and its facts."""
    torch.manual_seed(seed)
    weights = Path(f"model{seed}.safetensors")
    save_model(build_model(SPEC), SPEC, weights)
    save_pyfunc(weights, np.zeros((1, 32, 16, 3), np.uint8), Path(f"package{seed}"))
    tracker = Tracker.of(params.tracking)
    run = tracker.start("batch_hard", {}, {})
    tracker.artifacts(run, Path(f"package{seed}"), "model")
    validation = read_catalog("data/catalog.parquet").split("val").data_hash
    tracker.register(run, "model", REGISTERED, {KEY: repr(figure), "validation_hash": validation})
    tracker.finish(run)
    assert tracker.problem is None
    return {"mlflow_run_id": tracker.run_id(run), "figures": {KEY: figure}}


def champion(params: Params) -> str:
    present = present_champion(Tracker.of(params.tracking), REGISTERED)
    assert present is not None
    return present.number


def test_only_what_is_better_on_the_same_people_becomes_champion(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    people(0)
    first = trained(params, 0.5, seed=1)
    assert "is the first champion" in select.challenge(params, first, "batch_hard", KEY)
    assert "is the champion already" in select.challenge(params, first, "batch_hard", KEY)
    weaker = trained(params, 0.4, seed=2)
    assert (
        "does not beat champion version 1 on the same people (val_mean_ap 0.4000 against 0.5000)"
        in select.challenge(params, weaker, "quadruplet", KEY)
    )
    assert champion(params) == "1"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    loaded = mlflow.pyfunc.load_model(f"models:/{REGISTERED}@champion")
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 16, 3), np.uint8)
    expected = embed_images(load_model("model1.safetensors")[0], images)
    np.testing.assert_array_equal(loaded.predict(images), expected)
    with pytest.raises(mlflow.exceptions.MlflowException, match="schema"):
        loaded.predict(images[:, :16])

    # other validation people: the champion is measured on them, whatever it once reached on others
    people(50)
    data = load_training_data(Path("data/catalog.parquet"), 32, 16)
    theirs = validate(
        load_model("model1.safetensors")[0], data.val_images, data.val_identities, data.val_cameras
    )[KEY]
    assert 0 < theirs < 0.99
    below = trained(params, theirs - 0.01, seed=3)
    words = select.challenge(params, below, "quadruplet", KEY)
    assert (
        f"does not beat champion version 1 on the same people (val_mean_ap {theirs - 0.01:.4f} against "
        f"{theirs:.4f})"
    ) in words
    above = trained(params, theirs + 0.01, seed=4)
    assert "beats champion version 1" in select.challenge(params, above, "quadruplet", KEY)
    assert champion(params) == "4"


def test_without_mlflow_the_champion_stays(params: Params) -> None:
    people(0)
    offline = with_values(params, {"tracking.uri": "http://127.0.0.1:9"})
    words = select.challenge(offline, {"mlflow_run_id": "0" * 32, "figures": {KEY: 0.5}}, "batch_hard", KEY)
    assert words.startswith("the champion stays: MLflow at http://127.0.0.1:9 cannot be asked")
    assert "\n" not in words
