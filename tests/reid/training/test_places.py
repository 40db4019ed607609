"""Where MLflow's store lies: from DVC's temporary folders, after the project was moved or copied, under names
that leave room.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from reid.addresses import redacted, redacted_text
from reid.errors import UsageError
from reid.sockets import leave_room_for_sockets
from reid.training.places import StoreError, absolute_uri, in_project, relocate
from reid.training.tracking import Tracker

ROOT = Path(__file__).parents[3]
SCRIPT = """
from pathlib import Path
from reid.training.tracking import Tracker
tracker = Tracker("sqlite:///mlflow.db", "people", "records")
run = tracker.start("one", {}, {"where": str(Path.cwd())})
Path("picture").mkdir()
Path("picture/a.txt").write_text("a")
tracker.artifacts(run, Path("picture"), "pictures")
tracker.finish(run)
assert tracker.problem is None, tracker.problem
Path("out.txt").write_text(Path("in.txt").read_text())
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_schema: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(mlflow_schema, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    return folder


def log_a_run(name: str = "one") -> str:
    tracker = Tracker("sqlite:///mlflow.db", "people", "records")
    run = tracker.start(name, {}, {})
    Path("picture").mkdir(exist_ok=True)
    Path("picture/a.txt").write_text(name)
    tracker.artifacts(run, Path("picture"), "pictures")
    found = tracker.run_id(run)
    assert found is not None
    tracker.register(run, "pictures", "model", {})
    tracker.finish(run)
    assert tracker.problem is None
    return found


def test_a_temporary_copy_of_the_project_means_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert in_project("models/records") == tmp_path / "models/records"
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("http://host:5000") == "http://host:5000"
    monkeypatch.chdir(tmp_path)
    assert in_project("mlruns") == tmp_path / "mlruns"


def test_a_link_to_itself_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").symlink_to("mlflow.db")
    with pytest.raises(UsageError, match=r"mlflow.db is a link that leads to itself: remove it"):
        absolute_uri("sqlite:///mlflow.db")


def test_experiments_of_dvc_log_to_the_projects_store(project: Path) -> None:
    """--queue runs in folders of the same kind, by a worker that takes half a minute to start."""
    (project / "script.py").write_text(SCRIPT)
    (project / "in.txt").write_text("0")
    (project / "params.yaml").write_text("value: 0\n")
    (project / ".gitignore").write_text("mlflow.db*\nmlruns\nrecords\npicture\n")
    stage = {
        "cmd": "python script.py",
        "deps": ["in.txt", "script.py"],
        "params": ["value"],
        "outs": ["out.txt"],
    }
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": stage}}))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    environment |= {
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t",
    }

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "commit", "-qm", "start"],
    ):
        run(*command)
    run("dvc", "exp", "run", "--temp", "-S", "value=1")
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("people").experiment_id])
    assert "/.dvc/tmp/exps/" in found.data.tags["where"], "it did run in a temporary folder"
    assert (project / "mlruns" / found.info.run_id / "artifacts/pictures/a.txt").read_text() == "a"


def test_a_moved_project_says_so_and_one_command_repairs_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = log_a_run()
    moved = project.rename(project.with_name("elsewhere"))
    monkeypatch.chdir(moved)
    tracker = Tracker("sqlite:///mlflow.db", "people", "records")
    with pytest.raises(
        StoreError, match=r"project/mlruns, from where the project was moved: run `reid runs relocate`"
    ):
        tracker.experiment_id  # noqa: B018
    run = tracker.start("two", {}, {})
    assert tracker.problem is not None
    assert not project.exists(), "nothing is written to where the project was"
    assert (
        dict(relocate("sqlite:///mlflow.db"))[project.joinpath("mlruns").as_uri()]
        == (moved / "mlruns").as_uri()
    )
    assert relocate("sqlite:///mlflow.db") == []
    again = Tracker("sqlite:///mlflow.db", "people", "records")
    again.finish(run)
    assert again.deliver() == [], "what waited is told"
    client = MlflowClient(absolute_uri("sqlite:///mlflow.db"))
    assert Path(client.download_artifacts(run_id, "pictures/a.txt")).read_text() == "one"
    assert client.get_model_version("model", "1").source.startswith((moved / "mlruns").as_uri())


def test_a_copied_project_does_not_write_into_the_first(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log_a_run()
    shutil.copytree(project, project.with_name("copy"))
    monkeypatch.chdir(project.with_name("copy"))
    before = sorted(project.rglob("*"))
    with pytest.raises(AssertionError):
        log_a_run("two")
    shutil.rmtree("records")
    relocate("sqlite:///mlflow.db")
    second = log_a_run("two")
    assert sorted(project.rglob("*")) == before
    assert (project.with_name("copy") / "mlruns" / second).is_dir()
    assert (project.with_name("copy") / "mlruns" / first).is_dir()


def test_a_store_elsewhere_keeps_its_own_places(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_a_run()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    shared = f"sqlite:///{project}/mlflow.db"
    assert Tracker(shared, "people", "records").experiment_id
    with pytest.raises(UsageError, match="is not in this project"):
        relocate(shared)


def test_a_deleted_experiment_is_named(project: Path) -> None:
    log_a_run()
    client = MlflowClient(absolute_uri("sqlite:///mlflow.db"))
    number = client.get_experiment_by_name("people").experiment_id
    client.delete_experiment(number)
    tracker = Tracker("sqlite:///mlflow.db", "people", "records")
    tracker.start("two", {}, {})
    reason = (
        "experiment 'people' was deleted in MLflow: bring it back with `mlflow experiments "
        "restore --experiment-id"
    )
    assert tracker.problem is not None
    assert tracker.problem.startswith(f"{reason} {number}`")
    client.restore_experiment(number)
    assert Tracker("sqlite:///mlflow.db", "people", "records").experiment_id == number


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://anna:pass@host:554/live?token=secret#x", "rtsp://host:554/live"),
        ("async:rtsp://anna:pass@host/live?token=secret", "async:rtsp://host/live"),
        ("rtsp://[::1", "rtsp://..."),
        ("rtsp://a:p@[fe80::1/x", "rtsp://..."),
        ("rtsp://a:p/w@host/x", "rtsp://..."),
        ("rtsp://a:p?w@host/x", "rtsp://..."),
        ("rtsp://a:p#w@host/x", "rtsp://..."),
        ("rtsp://user:pass@[::1]:554/live", "rtsp://[::1]:554/live"),
        ("rtsp://host:554/live@main", "rtsp://host:554/live@main"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("folder/a b?.mkv", "folder/a b?.mkv"),
    ],
)
def test_addresses_are_shown_without_secrets(source: str, shown: str) -> None:
    assert redacted(source) == shown


def test_secrets_of_the_tracking_address_are_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker("http://anna:hunter2@127.0.0.1:9/", "people", "records")
    tracker.start("one", {}, {})
    assert tracker.problem is not None
    assert "127.0.0.1" in tracker.problem
    assert "hunter2" not in tracker.problem + tracker.shown
    assert redacted_text("cannot open postgresql://u:p@h/db now") == "cannot open postgresql://h/db now"


def test_a_long_temporary_folder_leaves_room_for_ray_s_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    leave_room_for_sockets()
    assert "RAY_TMPDIR" not in os.environ
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    leave_room_for_sockets()
    assert os.environ.pop("RAY_TMPDIR") == "/tmp"
