import subprocess
from pathlib import Path

import pytest

from reid.errors import ReidError
from reid.training.tracking import Tracker, absolute_uri, provenance


def test_parent_child_curve_and_registry_in_a_real_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker("sqlite:///mlflow.db", "people")
    assert Tracker("sqlite:///mlflow.db", "people").experiment_id == tracker.experiment_id
    parent = tracker.start("batch_hard", {"model.backbone": "x"}, {"data_hash": "d"})
    child = tracker.start("trial", {"train.steps": 3}, {}, parent=parent)
    for step in (1, 2):
        tracker.log(child, {"loss": 1.0 / step, "broken": float("nan")}, step)
    tracker.finish(child)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"w")
    tracker.artifacts(parent, model, "model")
    versions = [tracker.register(parent, "model", "embedder", {"objective": "batch_hard"}) for _ in range(2)]
    tracker.promote("embedder", versions[1])
    tracker.finish(parent)
    client = tracker.client
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == parent
    assert [(point.step, point.value) for point in client.get_metric_history(child, "loss")] == [(1, 1.0), (2, 0.5)]
    assert "broken" not in client.get_run(child).data.metrics
    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_model_version_by_alias("embedder", "champion").version == int(versions[1])
    assert [item.path for item in client.list_artifacts(parent, "model")] == ["model/model.safetensors"]


def test_a_store_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, it is a text that is long enough to be read as a header of one" * 20)
    with pytest.raises(ReidError, match=r"MLflow at sqlite:.*cannot be reached"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", "people")


def test_relative_uris_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("sqlite:////x/mlflow.db") == "sqlite:////x/mlflow.db"
    assert absolute_uri("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


def test_provenance_inside_and_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance() == {"git_commit": "unknown", "git_dirty": "unknown"}
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "a").write_text("a")
    subprocess.run(["git", "add", "a"], check=True)
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a"], check=True)
    assert len(provenance()["git_commit"]) == 40
    assert provenance()["git_dirty"] == "false"
    (tmp_path / "a").write_text("b")
    assert provenance()["git_dirty"] == "true"
