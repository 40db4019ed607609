"""``reid runs`` on a run, a model directory and a gallery made here by hand, without training anything."""

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.stage.run_log import REGISTERED
from reid.card import InputSpec, ModelCard, ModelFile, fingerprint_for, save_card
from reid.data.catalog import read_catalog, write_catalog
from reid.engine_stamp import EngineStamp, write_stamp
from reid.files import sha256_of
from reid.training.champion import promote, version_of
from reid.training.tracking import Tracker
from serving.gallery import Gallery

ROOT = Path(__file__).parents[3]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Reid = Callable[..., Done]


@pytest.fixture
def reid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Reid:
    """The console script in this process: starting MLflow in one of its own takes seconds."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["reid", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path) -> Path:
    """Four training images, a finished run that is champion, its engine, and a gallery of two people."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlflow_schema, "mlflow.db")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    rows = [
        {
            "path": f"{n}.png",
            "identity": f"p{n % 2}",
            "camera": "1",
            "split": "train",
            "width": 4,
            "height": 8,
            "sha256": f"{n:064}",
        }
        for n in range(4)
    ]
    write_catalog(rows, "data/catalog.parquet")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    weights = sha256_of(tmp_path / "model" / "model.safetensors")
    tracker = Tracker("sqlite:///mlflow.db", "reid", "models/records")
    origin = {
        "data_hash": read_catalog("data/catalog.parquet").data_hash,
        "git_commit": "a" * 40,
        "git_dirty": "true",
        "seed": "7",
    }
    run = tracker.start("quadruplet", {}, origin | {"model_sha256": weights})
    tracker.log(run, {"val_mean_ap": 0.75}, 10)
    tracker.artifacts(run, tmp_path / "model", "model")
    tracker.register(run, "model", REGISTERED, {})
    tracker.finish(run)
    run_id = tracker.run_id(run)
    assert run_id is not None
    version = version_of(tracker, REGISTERED, run_id)
    assert version is not None
    promote(tracker, REGISTERED, version)

    exported, shape = tmp_path / "exported", InputSpec(height=8, width=4)
    exported.mkdir()
    (exported / "model.onnx").write_bytes(b"graph")
    (exported / "model.plan").write_bytes(b"plan")
    files = {"fp32": ModelFile(path="model.onnx", sha256=sha256_of(exported / "model.onnx"))}
    fingerprint = fingerprint_for(weights, shape)
    save_card(
        ModelCard(name="m", dim=4, input=shape, files=files, fingerprint=fingerprint, mlflow_run_id=run_id),
        exported,
    )
    stamp = {
        "module": "tensorrt_rtx",
        "version": "1.7.1",
        "workspace_mib": 1,
        "optimization_level": 3,
        "profile": (1, 8, 8),
    }
    plan = exported / "model.plan"
    write_stamp(
        EngineStamp.model_validate(
            {**stamp, "onnx_sha256": files["fp32"].sha256, "plan_sha256": sha256_of(plan)}
        ),
        plan,
    )
    with Gallery.open("galleries/gallery.db", fingerprint, dim=4, create=True) as gallery:
        for number, name in enumerate(("ann", "bob")):
            gallery.enroll(name, np.eye(4, dtype=np.float32)[[number]], source=["x"])
    return tmp_path


def test_every_station_is_shown_and_fits_the_one_before(project: Path, reid: Reid) -> None:
    done = reid("runs", "show")
    assert done.code == 0, done.err
    data, run, model, engine, gallery = done.out.splitlines()
    assert "data/catalog.parquet: 4 images of 2 people" in data
    assert "[= what the run was trained on]" in data
    assert "quadruplet, FINISHED" in run
    assert "commit aaaaaaaaaaaa with changes, seed 7" in run
    assert "reid-embedder version 1, champion, val_mean_ap 0.750" in model
    assert "exported: model.onnx, model.plan (tensorrt_rtx 1.7.1)  [= exported from this model]" in engine
    assert "galleries/gallery.db: 2 people, 2 references, version 2  [= made by this engine]" in gallery
    listed = reid("runs", "list")
    assert "FINISHED  quadruplet" in listed.out
    assert "validation mAP 0.750" in listed.out


def test_every_broken_link_is_told(project: Path, reid: Reid) -> None:
    rows = [
        {
            "path": "9.png",
            "identity": "p9",
            "camera": "1",
            "split": "train",
            "width": 4,
            "height": 8,
            "sha256": "9" * 64,
        },
    ]
    write_catalog(rows, "data/catalog.parquet")
    card = json.loads((project / "exported/model.json").read_text())
    (project / "exported/model.json").write_text(json.dumps(card | {"fingerprint": "0" * 32}))
    done = reid("runs", "show", "--json")
    assert done.code == 0, done.err
    links = json.loads(done.out)
    assert {what: link["holds"] for what, link in links.items()} == {
        "data": False, "run": None, "model": None, "engine": False, "gallery": False,
    }  # fmt: skip
    assert "changed since" in links["data"]["why"]
    assert links["engine"]["why"] == "exported from other weights than this run's"
    assert links["gallery"]["why"] == "made by another model"
    unknown = reid("runs", "show", "abc")
    assert unknown.code == 2
    assert "run abc is not in MLflow" in unknown.err
    assert unknown.err.count("\n") == 1


def test_a_server_that_is_down_is_one_line_and_what_waits_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path, reid: Reid
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlflow_schema, "mlflow.db")
    params = (ROOT / "params.yaml").read_text().replace("sqlite:///mlflow.db", "http://127.0.0.1:9")
    (tmp_path / "params.yaml").write_text(params)
    tracker = Tracker("http://127.0.0.1:9", "reid", "models/records")
    tracker.finish(tracker.start("batch_hard", {}, {}))
    for command in ("list", "deliver"):
        done = reid("runs", command)
        assert done.code == 1
        assert "MLflow at http://127.0.0.1:9" in done.err
        assert done.err.count("\n") == 1
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = reid("runs", "deliver")
    assert done.out == f"1 runs delivered to MLflow at sqlite:///{tmp_path}/mlflow.db\n", done.err
    assert reid("runs", "deliver").out == "nothing waits\n"


def test_nothing_is_made_in_the_store_by_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path, reid: Reid
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    for words in (("list",), ("show", "abc")):
        done = reid("runs", *words)
        assert done.code == 2
        assert "mlflow.db does not exist" in done.err and done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml"]
    Path("mlflow.db").touch()
    assert "mlflow.db is empty" in reid("runs", "list").err
    assert Path("mlflow.db").stat().st_size == 0
    shutil.copy(mlflow_schema, "mlflow.db")
    before = Path("mlflow.db").read_bytes()
    for words in (("list",), ("show", "abc")):
        done = reid("runs", *words)
        assert done.code == 1 and done.err.count("\n") == 1
        assert "has no experiment 'reid': correct tracking.experiment, or train first" in done.err
    assert Path("mlflow.db").read_bytes() == before
    with closing(sqlite3.connect("mlflow.db")) as db, db:
        db.execute("DROP TABLE metrics")  # MLflow would make it again
    before = Path("mlflow.db").read_bytes()
    assert reid("runs", "list").code == 1
    assert Path("mlflow.db").read_bytes() == before


def test_a_damaged_store_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path, reid: Reid
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    whole = mlflow_schema.read_bytes()
    # the table's name in the schema is no UTF-8; and no database at all
    for damaged in (whole.replace(b"tableexperiments", b"table\xc6xperiments"), b"x" * 8192):
        assert damaged != whole
        Path("mlflow.db").write_bytes(damaged)
        done = reid("runs", "list")
        assert done.code == 1 and done.err.count("\n") == 1
        assert "mlflow.db cannot be read (" in done.err
        assert Path("mlflow.db").read_bytes() == damaged
