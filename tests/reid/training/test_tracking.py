import shutil
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from reid.errors import UsageError
from reid.training.champion import Version, judge_challenger, present_champion, promote, version_of
from reid.training.provenance import installed_packages, provenance
from reid.training.record import RunRecord
from reid.training.tracking import Tracker, absolute_uri


def test_parent_child_curve_and_registry_in_a_real_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlflow_schema, "mlflow.db")
    tracker = Tracker("sqlite:///mlflow.db", "people", "records")
    assert Tracker("sqlite:///mlflow.db", "people", "records").experiment_id == tracker.experiment_id
    many = {f"key{number}": number for number in range(130)}
    parent = tracker.start("batch_hard", {"model.backbone": "x", **many}, {"data_hash": "d"})
    child = tracker.start("trial", {"train.steps": 3}, {}, parent=parent)
    for step in (1, 2):
        tracker.log(child, {"loss": 1.0 / step, "broken": float("nan")}, step)
    tracker.finish(child)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"w")
    tracker.artifacts(parent, model, "model")
    client, parent_id, child_id = tracker.client, tracker.run_id(parent), tracker.run_id(child)
    assert parent_id is not None
    assert present_champion(tracker, "embedder") is None
    for expected in ("1", "2"):
        tracker.register(parent, "model", "embedder", {"val_mean_ap": "0.5", "validation_hash": "people"})
        version = version_of(tracker, "embedder", parent_id)
        assert version is not None
        assert version.number == expected
        assert (present_champion(tracker, "embedder") is None) == (expected == "1")
        promote(tracker, "embedder", version)
        assert present_champion(tracker, "embedder") == version
    tracker.finish(parent)
    assert tracker.problem is None
    assert client.get_run(child_id).data.tags["mlflow.parentRunId"] == parent_id
    assert [(point.step, point.value) for point in client.get_metric_history(child_id, "loss")] == [
        (1, 1.0),
        (2, 0.5),
    ]
    assert "broken" not in client.get_run(child_id).data.metrics
    assert client.get_run(parent_id).info.status == "FINISHED"
    assert len(client.get_run(parent_id).data.params) == 131
    assert [item.path for item in client.list_artifacts(parent_id, "model")] == ["model/model.safetensors"]
    assert list((tmp_path / "records").iterdir()) == [], "a finished run that MLflow knows leaves no record"
    tracker.artifacts(parent_id, model / "model.safetensors", "exported")  # a later stage knows MLflow's id
    assert [item.path for item in client.list_artifacts(parent_id, "exported")] == [
        "exported/model.safetensors"
    ]
    assert list((tmp_path / "records").iterdir()) == []
    # a second try of a trial whose record is gone goes on in the same run
    tracker.log(child, {"loss": 0.25}, 3)
    tracker.finish(child)
    assert [point.value for point in client.get_metric_history(child_id, "loss")] == [1.0, 0.5, 0.25]


class _Refusing(BaseHTTPRequestHandler):
    def _refuse(self) -> None:
        self.send_error(503)

    do_GET = do_POST = _refuse  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=["nobody listens", "the server refuses", "the database is damaged"])
def unreachable(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    request.addfinalizer(server.server_close)
    uri = f"http://127.0.0.1:{server.server_port}"
    if request.param == "the server refuses":
        Thread(target=server.serve_forever, daemon=True).start()
        request.addfinalizer(server.shutdown)
    elif request.param == "nobody listens":
        server.server_close()
    else:
        (tmp_path / "mlflow.db").write_text(
            "this is no database, it is a text that is long enough to be read as a header of one" * 20
        )
        uri = f"sqlite:///{tmp_path}/mlflow.db"
    return uri


def test_what_an_unreachable_server_missed_is_logged_afterwards(
    unreachable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    down = Tracker(unreachable, "people", "records")
    parent = down.start("batch_hard", {"seed": 7}, {"data_hash": "d"})
    child = down.start("trial", {"train.steps": 3}, {}, parent=parent)
    written = time.time()
    down.log(child, {"loss": 1.0}, 1)
    down.log(child, {"loss": 0.5}, 2)
    down.finish(child)
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"as it was")
    down.artifacts(parent, model, "model")
    (model / "weights").write_bytes(b"of the next training")
    down.register(parent, "model", "embedder", {"objective": "batch_hard"})
    down.finish(parent)
    assert down.problem
    assert "\n" not in down.problem
    assert down.run_id(parent) is None
    assert sorted(down.deliver()) == sorted([parent, child])
    # A machine that goes down while a line is written leaves half a line.
    with (tmp_path / "records" / parent / "events.jsonl").open("a") as stream:
        stream.write('{"do": "tag", "ti')

    shutil.copy(mlflow_schema, "other.db")
    up = Tracker("sqlite:///other.db", "people", "records")
    assert up.deliver() == []
    assert list((tmp_path / "records").iterdir()) == []
    run = up.client.get_run(up.run_id(child))
    assert run.data.tags["mlflow.parentRunId"] == up.run_id(parent)
    assert run.info.status == "FINISHED"
    points = up.client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5)]
    assert all(abs(point.timestamp / 1000 - written) < 30 for point in points), (
        "the time is that of the training"
    )
    copy = up.client.download_artifacts(up.run_id(parent), "model/weights", str(tmp_path))
    assert Path(copy).read_bytes() == b"as it was"
    assert version_of(up, "embedder", str(up.run_id(parent))) is not None


def test_a_delivery_that_breaks_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlflow_schema, "mlflow.db")
    tracker = Tracker("sqlite:///mlflow.db", "people", "records")
    run = tracker.start("batch_hard", {}, {})
    real = tracker.client.log_batch

    def broken(*_: object, **__: object) -> None:
        raise OSError("the line is dead")

    monkeypatch.setattr(tracker.client, "log_batch", broken)
    tracker.log(run, {"loss": 1.0}, 1)
    assert tracker.problem == "the line is dead"
    monkeypatch.setattr(tracker.client, "log_batch", real)
    tracker.log(run, {"loss": 0.5}, 2)
    assert len(RunRecord(tmp_path / "records" / run).events()) == 3
    assert tracker.client.get_metric_history(tracker.run_id(run), "loss") == [], "left alone for a while"
    assert tracker.deliver() == []
    assert [point.value for point in tracker.client.get_metric_history(tracker.run_id(run), "loss")] == [
        1.0,
        0.5,
    ]
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 1


def test_a_uri_of_no_known_kind() -> None:
    with pytest.raises(UsageError, match=r"tracking\.uri is 'htp://x': want e\.g\. sqlite"):
        Tracker("htp://x", "people", "records")


@pytest.mark.parametrize(
    ("champion", "theirs", "promoted", "words"),
    [
        (None, None, True, "first champion"),
        ("3", 0.80, False, "does not beat champion version 3"),
        ("3", 0.81, False, "does not beat"),
        ("3", 0.79, True, "beats champion version 3"),
        ("3", None, True, "cannot be read any more"),
    ],
)
def test_only_a_better_model_becomes_champion(
    champion: str | None, theirs: float | None, promoted: bool, words: str
) -> None:
    verdict = judge_challenger("quadruplet", 0.80, champion, theirs, "val_mean_ap")
    assert verdict.promote is promoted
    assert words in verdict.reason


def test_a_recorded_figure_counts_on_the_same_people_only() -> None:
    version = Version("1", "r", {"validation_hash": "a", "val_mean_ap": "0.5"})
    assert version.figure("val_mean_ap", "a") == 0.5
    assert version.figure("val_mean_ap", "b") is None
    assert version.figure("val_rank1", "a") is None


def test_relative_uris_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("sqlite:////x/mlflow.db") == "sqlite:////x/mlflow.db"
    assert absolute_uri("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


def test_provenance_inside_and_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    facts = provenance()
    assert (facts["git_commit"], facts["git_dirty"]) == ("unknown", "unknown")
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["version.torch"].startswith("2.")
    assert f"numpy=={facts['version.numpy']}" in installed_packages().splitlines()
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "a").write_text("a")
    subprocess.run(["git", "add", "a"], check=True)
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a"], check=True)
    assert len(provenance()["git_commit"]) == 40
    assert provenance()["git_dirty"] == "false"
    (tmp_path / "a").write_text("b")
    assert provenance()["git_dirty"] == "true"
