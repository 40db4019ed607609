import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from reid.config import Params, with_values
from reid.errors import ReidError
from reid.files import read_json
from reid.training.callbacks import Listener
from reid.training.sweep import best_trial, forget, search_space
from reid.training.tracking import Tracker
from reid.training.trial import run_training

ROOT = Path(__file__).parents[3]
STEPS, KILLED_AFTER = 12, 3


@pytest.fixture
def tracker(tiny_params: Params, mlflow_schema: Path, tmp_path: Path) -> Tracker:
    shutil.copy(mlflow_schema, tmp_path / "mlflow.db")
    return Tracker.of(tiny_params.tracking)


def children(tracker: Tracker, parent: str) -> list[Any]:
    found = tracker.client.search_runs(
        [tracker.experiment_id], f"tags.`mlflow.parentRunId` = '{tracker.run_id(parent)}'"
    )
    return list(found)


def test_every_distribution_that_params_may_name_is_one_of_ray_tunes(tiny_params: Params) -> None:
    space: dict[str, dict[str, list[Any]]] = {
        "a": {"choice": ["adam", "sgd"]},
        "b": {"uniform": [0.5, 0.7]},
        "c": {"loguniform": [1e-4, 1e-3]},
        "d": {"randint": [3, 6]},
        "e": {"quniform": [1, 2, 0.25]},
    }
    drawn = search_space(with_values(tiny_params, {"tune.space": space}).tune.space)
    assert list(drawn) == list(space)
    samples = {key: [domain.sample() for _ in range(50)] for key, domain in drawn.items()}
    assert set(samples["a"]) == {"adam", "sgd"}
    assert all(0.5 <= value <= 0.7 for value in samples["b"])
    assert all(1e-4 <= value <= 1e-3 for value in samples["c"])
    assert set(samples["d"]) == {3, 4, 5}
    assert set(samples["e"]) == {1, 1.25, 1.5, 1.75, 2}


@pytest.mark.slow
def test_a_sweep_on_two_nodes_goes_on_after_its_driver_was_killed(
    ray_cluster: str,
    tiny_params: Params,
    tiny_catalog: Path,
    tmp_path: Path,
    tracker: Tracker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two trials at the same time, each on a node of its own, because a node has one processor."""
    space = {"train.learning_rate": {"loguniform": [1e-5, 1e-3]}}
    changes = {
        "tune.trials": 2,
        "tune.concurrent": 2,
        "tune.space": space,
        "tune.grace_epochs": 99,
        "train.steps": STEPS,
    }
    # Relative: the trials' working directories are others than the driver's.
    changes |= {
        "train.epoch_steps": 1,
        "tracking.uri": "sqlite:///mlflow.db",
        "tracking.records": "records",
        "tune.storage": "tune",
    }
    params = with_values(tiny_params, changes)
    (tmp_path / "params.json").write_text(params.model_dump_json())
    command = [sys.executable, "-m", "tests.reid.training.sweep_driver"]
    command += [str(tmp_path / "params.json"), str(tiny_catalog), str(tmp_path / "result.json")]
    environment = os.environ | {"RAY_ADDRESS": ray_cluster, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, cwd=tmp_path
    ) as driver:
        assert driver.stdout is not None
        heard: dict[str, int] = {}
        for line in driver.stdout:
            event = json.loads(line)
            heard[event["trial"]] = event["epoch"]
            if len(heard) == 2 and min(heard.values()) >= KILLED_AFTER:
                break
        driver.kill()
    assert len(heard) == 2, "the driver ended before both trials had begun"
    assert list((tmp_path / "tune").glob("*/*/checkpoint.safetensors")), "nothing was left to do"
    assert not (tmp_path / "result.json").exists()
    parent = next((tmp_path / "tune").glob("*/mlflow_run")).read_text()
    assert len({run.data.tags["node"] for run in children(tracker, parent)}) == 2

    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    result = read_json(tmp_path / "result.json")
    assert result["parent"] == parent
    assert result["failures"] == {}
    told_again: dict[str, list[int]] = defaultdict(list)
    for line in done.stdout.splitlines():
        told_again[json.loads(line)["trial"]].append(json.loads(line)["epoch"])
    assert told_again
    assert all(epochs[0] >= KILLED_AFTER and epochs[-1] == STEPS for epochs in told_again.values()), (
        "goes on from checkpoints"
    )
    runs = children(tracker, parent)
    assert len(runs) == 2
    assert all("train.learning_rate" in run.data.params for run in runs)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert result["figures"] == max(run.data.metrics["val_mean_ap"] for run in runs)
    for run in runs:
        points = {point.step for point in tracker.client.get_metric_history(run.info.run_id, "loss")}
        assert points == set(range(1, STEPS + 1))
    monkeypatch.chdir(tmp_path)
    forget(params, Path(result["folder"]))
    assert list((tmp_path / "tune").iterdir()) == []


@pytest.mark.slow
def test_a_trial_that_fails_is_tried_again_reported_and_left_out(
    ray_cluster: str,
    tiny_params: Params,
    tiny_catalog: Path,
    tracker: Tracker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)
    space = {"train.learning_rate": {"choice": [1e30]}, "train.warmup_share": {"choice": [0.0]}}
    parent = tracker.start("batch_hard", {}, {})
    hopeless = with_values(tiny_params, {"tune.space": space})
    with pytest.raises(
        ReidError,
        match=r"^every trial of batch_hard failed: the (loss is|embeddings are) not finite at step \d.*\.png",
    ):
        best_trial(hopeless, "batch_hard", tiny_catalog, start=None, parent=parent)
    (run,) = children(tracker, parent)
    assert run.info.status == "FAILED"
    assert "not finite" in run.data.tags["error"]

    space = {"train.warmup_share": {"choice": [0.0]}, "train.learning_rate": {"choice": [1e30, 1e-4]}}
    # With this seed the search proposes one of each.
    changes = {"tune.space": space, "tune.trials": 2, "tune.concurrent": 2, "tune.retries": 1, "seed": 10}
    mixed = with_values(hopeless, changes | {"objectives.batch_hard.steps": 10})  # more than train.steps
    again = tracker.start("batch_hard", {}, {})
    result = best_trial(mixed, "batch_hard", tiny_catalog, start=None, parent=again)
    (reason,) = result.failures.values()
    assert "not finite" in reason
    assert (result.folder / "model.safetensors").exists()
    assert result.figures["epoch"] == 5, "all steps of the objective"
    runs = children(tracker, again)
    assert len(runs) == 2, "a second try goes on in the run of the first"
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]
    failed = next(run for run in runs if run.info.status == "FAILED")
    assert failed.data.params["train.learning_rate"] == "1e+30"
    assert failed.data.tags["tries"] == "2"


@pytest.mark.slow
def test_one_trial_with_a_worker_on_each_node(
    ray_cluster: str,
    tiny_params: Params,
    tiny_catalog: Path,
    tracker: Tracker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)
    # An untrained network makes much of rounding, and Adam's first step is as large for a gradient that
    # rounding alone has made as for any: in full precision, and a small step.
    exact = {"train.precision": "float32", "train.learning_rate": 1e-4}
    params = with_values(tiny_params, {"train.workers": 2, "train.steps": 2, "train.epoch_steps": 1} | exact)
    monkeypatch.setattr(Listener, "ask_every_s", 0.0)
    heard: list[tuple[str, int]] = []
    parent = tracker.start("batch_hard", {}, {})
    result = best_trial(
        params,
        "batch_hard",
        tiny_catalog,
        start=None,
        parent=parent,
        on_step=lambda trial, step: heard.append((trial, step)),
    )
    assert result.failures == {}
    assert {trial for trial, _ in heard} == {heard[0][0]}
    assert result.folder.name.startswith(heard[0][0])
    assert {step for _, step in heard} <= {1, 2}, "steps within an epoch are told, too"
    (tmp_path / "alone").mkdir()
    alone = run_training(
        with_values(params, {"train.workers": 1}), "batch_hard", tiny_catalog, tmp_path / "alone"
    )
    assert (result.folder / "model.safetensors").exists()
    (run,) = children(tracker, parent)
    points = sorted(tracker.client.get_metric_history(run.info.run_id, "loss"), key=lambda point: point.step)
    assert [point.step for point in points] == [1, 2]
    first, second = (epoch["loss"] for epoch in read_json(tmp_path / "alone" / "history.json"))
    assert second == alone["loss"]
    assert points[0].value == pytest.approx(first, rel=1e-4)
    assert result.figures["loss"] == points[1].value == pytest.approx(second, rel=1e-3)
    assert run.info.status == "FINISHED"
