"""The whole chain by DVC, small but real: rendered people, three trainings under Ray, an engine, a gallery, a
camera job.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from pipelines.cli import app
from tests.pipelines.projects import ROOT, change, project, run
from tests.serving.execution_job import WALKS
from tests.serving.tiny_footage import write_walks
from tests.tutorial_pages import blocks, commands

SMALL_TRAINING = {"steps": 4, "epoch_steps": 2, "identities": 4, "images": 2}


def assert_trials_are_tracked(folder: Path, parent: str) -> None:
    """The trial is a child run in the same store, with a figure for each epoch: two of two steps."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_run(parent).info.experiment_id
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert [point.step for point in client.get_metric_history(child.info.run_id, "val_mean_ap")] == [2, 4]
    assert len(list(folder.rglob("mlflow.db"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_pictures_to_names_and_again_without_work(tmp_path: Path, mlflow_schema: Path) -> None:
    folder = project(
        tmp_path,
        synthetic={
            "people": 30,
            "cameras": 2,
            "images_per_camera": 3,
            "footage_people": 4,
            "footage_seconds": 8.0,
        },
        model={"height": 64, "width": 32},
        train=SMALL_TRAINING,
        data={"validation_share": 0.3},
        calibrate={"false_accept_rate": 0.2, "bootstrap": 20},
        evaluate={"bootstrap": 20},
        # After four steps of training a few people rank by chance: lower precisions are to be written and
        # measured here, not to be good.
        export={
            "parity": {"fp32": 0.9999, "fp16": 0.9, "int8": 0.5},
            "parity_int8_lowest": -1.0,
            "parity_map_fall": 0.5,
        },
    )
    shutil.copy(mlflow_schema, folder / "mlflow.db")
    done = run("dvc", "repro", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads((folder / "reports/evaluation/metrics.json").read_text())
    assert set(metrics["objectives"]) == {"batch_hard", "quadruplet", "hierarchical"}
    assert all(0 < row["rank1"] <= 1 and 0 < row["mean_ap"] < 1 for row in metrics["objectives"].values())
    assert metrics["chosen"] in metrics["objectives"]
    exported = {path.name for path in (folder / "exported").iterdir()}
    files = {
        f"{name}.{kind}"
        for name in ("model", "model.fp16", "model.int8")
        for kind in ("onnx", "plan", "plan.json")
    }
    metric = {"pair_metric.safetensors"} if metrics["chosen"] == "quadruplet" else set()
    assert exported == files | metric | {"model.json", "self_test.safetensors"}
    export = json.loads((folder / "reports/export.json").read_text())
    assert export["files"]["fp32"]["lowest"] >= 0.9999
    assert all(set(file["runtimes"]) == {"onnxruntime", "openvino"} for file in export["files"].values())
    assert all(
        0 < row["mean_ap"] <= 1 for file in export["files"].values() for row in file["runtimes"].values()
    )
    trained_by = json.loads((folder / "selected/training.json").read_text())["mlflow_run_id"]
    assert_trials_are_tracked(folder, trained_by)
    data_hash = json.loads((folder / "data/summary.json").read_text())["data_hash"]
    assert (
        MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").get_run(trained_by).data.tags["data_hash"]
        == data_hash
    )
    pictures = {path.name for path in folder.glob(f"mlruns/{trained_by}/artifacts/evaluation/*")}
    assert {"evaluation.html", "cmc.png", "ranked_lists.png", "tree.png"} <= pictures
    (artifacts,) = folder.glob(f"mlruns/{trained_by}/artifacts/exported")
    assert {path.name for path in artifacts.iterdir()} == exported | {"export.json"}
    sightings = pq.read_table(folder / "results/match/sightings.parquet").to_pylist()
    assert sightings, "four people walk through the footage"
    known = set(json.loads((folder / "reports/gallery.json").read_text())["known"])
    assert {row["identity"] for row in sightings} <= known | {"unknown"}
    assert (folder / "results/match/report.html").stat().st_size > 1000
    assert json.loads((folder / "reports/match.json").read_text())["idf1"] > 0.3
    results = run(sys.executable, "-m", "pipelines.results", cwd=folder)
    assert results.returncode == 0, results.stderr
    assert "report.html" in results.stdout

    again = run("dvc", "repro", cwd=folder)
    assert again.returncode == 0
    assert "Data and pipelines are up to date" in again.stdout
    changed = run("dvc", "repro", "--dry", cwd=change(folder, "calibrate", "false_accept_rate", 0.3))
    ran = {line.split("'")[1] for line in changed.stdout.splitlines() if line.startswith("Running stage")}
    assert "calibrate" in ran
    assert not {
        stage for stage in ran if stage.startswith(("prepare", "train", "select", "metric", "evaluate"))
    }
    change(folder, "calibrate", "false_accept_rate", 0.2)
    changed = run("dvc", "repro", "--dry", cwd=change(folder, "metric", "method", "xqda"))
    ran = {line.split("'")[1] for line in changed.stdout.splitlines() if line.startswith("Running stage")}
    assert "metric" in ran
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    assert all("fitted" in stages[name]["deps"] for name in ("evaluate", "calibrate", "export"))
    assert not {stage for stage in ran if stage.startswith(("prepare", "train", "select"))}


@pytest.mark.slow
@pytest.mark.footage
def test_the_tutorial_goes_from_a_folder_of_real_people_to_footage(
    tmp_path: Path, shared: Path, mlflow_schema: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of the page, on small pictures and with one objective: the others are the same files."""
    (keys,) = blocks("train_on_my_folder.md", "yaml")
    folder = project(
        tmp_path,
        data=yaml.safe_load(keys)["data"] | {"query_per_camera": 2},
        model={"height": 96, "width": 48},
        train={"steps": 60, "epoch_steps": 30, "identities": 8, "images": 4},
        evaluate={"bootstrap": 20},
        export={"engines": None},
    )
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["objectives"] = {"batch_hard": params["objectives"]["batch_hard"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "path/to").mkdir(parents=True)
    (folder / "path/to/images").symlink_to(shared / "data/pku_reid/dev")
    write_walks(folder / "entrance.mp4", WALKS, 180)
    write_walks(folder / "hall.mp4", WALKS[::2], 180)
    shutil.copy(mlflow_schema, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    lines = commands("train_on_my_folder.md")
    assert [line.split()[0] for line in lines] == ["dvc"] * 3 + ["reid"] * 2
    for line in lines[:3]:
        done = run(*shlex.split(line), cwd=folder)
        assert done.returncode == 0, (line, done.stderr[-3000:])
    for line in lines[3:]:
        command = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert command.exit_code == 0, (line, command.output)
    summary = json.loads((folder / "data/summary.json").read_text())
    assert summary["images_found"] == summary["images_kept"] == 800
    counts = {split: part["identities"] for split, part in summary["splits"].items()}
    assert counts == {"train": 30, "val": 5, "query": 15, "gallery": 15}
    metrics = json.loads((folder / "reports/evaluation/metrics.json").read_text())
    trained, untrained = metrics["objectives"]["batch_hard"], metrics["untrained"]
    assert trained["mean_ap"] > untrained["mean_ap"] + 0.1
    assert (folder / "found/report.html").is_file()
    assert set(pq.read_table(folder / "found/sightings.parquet")["identity"].to_pylist()) == {"unknown"}


@pytest.mark.parametrize(
    ("section", "keys", "message", "code"),
    [
        ("train", {"stepz": 3}, "train.stepz: unknown key", 2),
        ("data", {"source": "folder"}, "data.root is not set", 2),
        (
            "data",
            {"source": "folder", "root": "nowhere", "pattern": "(?P<identity>.)"},
            "nowhere does not exist",
            2,
        ),
        ("data", {"source": "market1501", "root": "."}, "bounding_box_train is missing", 2),
    ],
)
def test_bad_parameters_are_one_line(
    tmp_path: Path, section: str, keys: dict[str, Any], message: str, code: int
) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params[section] |= keys
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.prepare"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data" / "catalog.parquet").exists()
