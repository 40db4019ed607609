"""The stage ``pretrain``: from the command line on ten people, and what it says of what cannot be trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from pipelines import pretrain, train
from pipelines.stage.run_log import REGISTERED
from reid.config import Params, load_params, parse_params
from reid.data.catalog import read_catalog
from reid.errors import ReidError, UsageError
from reid.models.embedder import ModelSpec, build_model, save_model
from tests.pipelines.projects import project, run


@pytest.mark.slow
def test_ten_people_without_names_and_then_with_them(tmp_path: Path, mlflow_schema: Path) -> None:
    folder = project(
        tmp_path,
        synthetic={
            "people": 10,
            "cameras": 2,
            "images_per_camera": 3,
            "footage_people": 2,
            "footage_seconds": 6.0,
        },
        model={"height": 64, "width": 32},
        data={"validation_share": 0.3},
        train={"steps": 4, "epoch_steps": 2, "identities": 2, "images": 2},
        pretrain={"simclr": {"images": "data/catalog.parquet", "method": "simclr", "batch": 8}},
        objectives={
            "batch_hard": {
                "start": "simclr",
                "terms": {"batch_hard": {}},
                "learning_rate": 1e-6,
                "steps": 2,
            }
        },
    )
    shutil.copy(mlflow_schema, folder / "mlflow.db")
    done = run("dvc", "repro", "train@batch_hard", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((folder / "reports/train/simclr.json").read_text()).keys() >= {"val_mean_ap"}
    # At a rate of almost nothing the objective ends where the pre-training ended.
    found, begun = (
        load_file(folder / f"models/{name}/model.safetensors") for name in ("batch_hard", "simclr")
    )
    first = build_model(ModelSpec(height=64, width=32)).state_dict()
    weights = [key for key in begun if begun[key].ndim == 4]
    assert all(float((found[key] - begun[key]).abs().max()) < 1e-4 for key in weights)
    assert any(float((first[key] - begun[key]).abs().max()) > 1e-3 for key in weights)
    facts = json.loads((folder / "models/simclr/training.json").read_text())
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    curve = client.get_metric_history(facts["mlflow_run_id"], "nt_xent.spread")
    assert [point.step for point in curve] == [2, 4]
    versions = client.search_model_versions(f"name = '{REGISTERED}'")
    assert [version.tags["objective"] for version in versions] == ["batch_hard"]
    again = run("dvc", "repro", "train@batch_hard", cwd=folder)
    assert "Data and pipelines are up to date" in again.stdout


Section = dict[str, Any]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_params: Params) -> Callable[..., None]:
    """Runs the stage in a folder with 24 crops of a job, as the command line does but for the process."""
    monkeypatch.chdir(tmp_path)
    crops = Path("found/crops")
    crops.mkdir(parents=True)
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 20, 3), np.uint8)
        cv2.imwrite(str(crops / f"hall-{number:05d}.jpg"), pixels)

    def go(tune: Section | None = None, **section: Any) -> None:
        value = tiny_params.model_dump(mode="json")
        value["pretrain"] = {"mine": {"images": "found", "method": "moco"} | section}
        value["tune"] |= tune or {}
        Path("params.yaml").write_text(yaml.safe_dump(value))
        monkeypatch.setattr("sys.argv", ["pretrain", "mine"])
        pretrain.main()

    return go


def test_the_crops_of_a_job_are_listed_and_trained_on(
    stage: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[Any, ...]] = []
    monkeypatch.setattr(pretrain, "train_objective", lambda *given: called.append(given))
    stage(batch=8, options={"queue": 16})
    ((params, name, catalog, start, out, reports),) = called
    assert (name, start, out, reports) == ("mine", None, Path("models/mine"), Path("reports/train"))
    assert len(read_catalog(catalog).split("train")) == 24
    assert "mine: 24 images of found" in capsys.readouterr().err
    assert params.pretrain["mine"].method == "moco"


@pytest.mark.parametrize(
    ("section", "tune", "message"),
    [
        ({"images": "empty"}, {}, "no image below empty: name a folder of crops"),
        ({"images": "gone"}, {}, "pretrain images: 'gone' does not exist: name a folder"),
        (
            {"batch": 32},
            {},
            "pretrain.mine: sampler views: 24 images are fewer than a batch of 32",
        ),
        (
            {"batch": 8, "options": {"queue": 20}},
            {},
            "pretrain.mine: a queue of 20 is no multiple of the batch of 8: take 16 or 24",
        ),
        (
            {"batch": 8},
            {"trials": 2},
            "pretrain.mine: trials cannot be compared without validation people: name a catalog",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    section: Section, tune: Section, message: str, stage: Callable[..., None]
) -> None:
    Path("empty").mkdir()
    with pytest.raises(ReidError) as caught:
        stage(tune, **section)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not Path("models").exists()


@pytest.mark.usefixtures("folder")
def test_a_name_that_is_not_there_is_named_with_those_that_are(
    tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = tiny_params.model_dump(mode="json")
    monkeypatch.setattr("sys.argv", ["pretrain", "simclr"])
    for section, known in (({}, "recipes/pretrain.yaml has some"), ({"mine": "simsiam"}, "or take mine")):
        value["pretrain"] = {name: {"images": "x", "method": method} for name, method in section.items()}
        Path("params.yaml").write_text(yaml.safe_dump(value))
        with pytest.raises(UsageError, match=f"pre-training is 'simclr': add it .*{known}"):
            pretrain.main()


@pytest.mark.usefixtures("folder")
def test_a_start_of_another_backbone_is_refused_before_anything_runs(
    tiny_params: Params, tiny_catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = tiny_params.model_dump(mode="json")
    value["pretrain"] = {"mine": {"images": "x", "method": "simclr"}}
    value["objectives"]["batch_hard"]["start"] = "mine"
    Path("params.yaml").write_text(yaml.safe_dump(value))
    Path("data").mkdir()
    shutil.copy(tiny_catalog, "data/catalog.parquet")
    Path("models/mine").mkdir(parents=True)
    spec = ModelSpec("resnet18", "none", 32, 16)
    save_model(build_model(spec), spec, "models/mine/model.safetensors")
    monkeypatch.setattr("sys.argv", ["train", "batch_hard"])
    with pytest.raises(ReidError, match=r"^the start models/mine/model.safetensors is of backbone resnet18"):
        train.main()


def test_a_collapse_is_said_once_in_one_line(tiny_params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    with train.listening(tiny_params, "batch_hard") as note:
        note("trial_1", 1)
        for step, value in ((2, 0.4), (4, 0.01), (6, 0.01)):
            note("trial_1", step, {"simsiam.spread": value, "loss": 0.0})
    said = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
    assert len(said) == 1
    assert "trial_1 at step 4: collapsed, all images have nearly one embedding" in said[0]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"untrained": {}}, "pretrain: 'untrained' is taken by another folder of models"),
        ({"batch_hard": {}}, "objectives: 'batch_hard' names a pre-training as well"),
        ({"a.b": {}}, "pretrain: 'a.b' cannot name a pre-training"),
        ({"mine": {"method": "byol"}}, "pretrain.mine.method is 'byol': take 'simclr', 'moco' or 'simsiam'"),
        ({"mine": {"queue": 3}}, "pretrain.mine.queue: unknown key"),
    ],
)
def test_a_wrong_section_is_named_by_its_key(
    section: dict[str, Section], message: str, tiny_params: Params
) -> None:
    value = tiny_params.model_dump(mode="json")
    value["pretrain"] = {name: {"images": "x", "method": "simclr"} | keys for name, keys in section.items()}
    with pytest.raises(UsageError) as caught:
        parse_params(value)
    assert str(caught.value).startswith(f"params.yaml: {message}")


def test_the_parameters_of_the_repository_pre_train_nothing() -> None:
    assert not load_params(Path(__file__).parents[2] / "params.yaml").pretrain
