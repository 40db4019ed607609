"""The local record of a run: what is to be sent to MLflow, line by line in a file, so that nothing is lost
while its server is down.
"""

import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reid.files import read_json, write_json

__all__ = ["RECORD_TAG", "RunRecord", "deliver", "find_run"]

RECORD_TAG = "reid.record"
"""The MLflow tag that holds a record's name; it makes telling the same thing twice harmless."""

_MOST_PARAMS = 100  # in one request, by MLflow's REST API


class RunRecord:
    """The events of one run in ``folder``, which is named like the run and gone once MLflow knows everything
    about a finished run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events = folder / "events.jsonl"
        self._delivered = folder / "delivered.json"

    def append(self, do: str, **what: Any) -> None:
        """Add an event."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._events.open("a", encoding="utf-8") as stream:
            stream.write(
                json.dumps({"do": do, "time": int(time.time() * 1000), **what}, ensure_ascii=False) + "\n"
            )

    def keep(self, path: Path) -> str:
        """Copy a folder's content or a file into the record, so that it may change before it is delivered;
        returns the copy's name.
        """
        name = f"files-{time.time_ns()}"
        if path.is_dir():
            shutil.copytree(path, self.folder / name)
        else:
            (self.folder / name).mkdir(parents=True)
            shutil.copy2(path, self.folder / name)
        return name

    def events(self) -> list[dict[str, Any]]:
        """All events; a last line cut off by a kill is left out."""
        if not self._events.exists():
            return []
        lines = self._events.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    @property
    def state(self) -> dict[str, Any]:
        """MLflow's ``run_id``, None before it is known, and how many ``events`` were delivered."""
        return read_json(self._delivered) if self._delivered.exists() else {"run_id": None, "events": 0}

    def mark(self, run_id: str, events: int) -> None:
        """Write the state."""
        write_json(self._delivered, {"run_id": run_id, "events": events})

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Held by one process that delivers; yields False where another holds it or nothing is there."""
        try:
            stream = (self.folder / "lock").open("w")
        except FileNotFoundError:
            yield False
            return
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def remove(self) -> None:
        """Forget the record."""
        shutil.rmtree(self.folder)


def find_run(client: Any, experiment_id: str, record: str) -> str | None:
    """MLflow's id of the run with this record, or None."""
    found = client.search_runs([experiment_id], f"tags.`{RECORD_TAG}` = '{record}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def deliver(client: Any, experiment_id: str, record: RunRecord) -> None:
    """Send MLflow what it has not received yet; where that fails, what was sent is marked and the rest waits
    for the next time.

    Raises:
        Exception: whatever the client raises.
    """
    with record.lock() as mine:
        if not mine:
            return
        state, events = record.state, record.events()
        done = int(state["events"])
        opens = bool(events) and events[0]["do"] == "start"
        # A record that was removed and written to again, as by a trial's second try, has lost its state; one
        # that a later stage writes may be named by MLflow's own id.
        run_id = state["run_id"] or find_run(client, experiment_id, record.folder.name)
        run_id = run_id or (None if opens else record.folder.name)
        for number, event in enumerate(events[done:], done + 1):
            if event["do"] == "start":
                run_id = run_id or _create(client, experiment_id, record.folder, event)
            else:
                _HANDLERS[event["do"]](client, str(run_id), event, record.folder)
            record.mark(str(run_id), number)
        if events and (events[-1]["do"] == "finish" or not opens):
            record.remove()


def _create(client: Any, experiment_id: str, folder: Path, event: Mapping[str, Any]) -> str:
    from mlflow.entities import Param

    tags = {**event["tags"], RECORD_TAG: folder.name}
    if event["parent"]:
        above = RunRecord(folder.parent / event["parent"])
        parent = above.state["run_id"] or find_run(client, experiment_id, event["parent"])
        if parent is None:  # the parent is still to be delivered itself
            deliver(client, experiment_id, above)
            parent = find_run(client, experiment_id, event["parent"])
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
    run = client.create_run(experiment_id, start_time=event["time"], run_name=event["name"], tags=tags)
    params = [Param(key, value) for key, value in event["params"].items()]
    for start in range(0, len(params), _MOST_PARAMS):
        client.log_batch(run.info.run_id, params=params[start : start + _MOST_PARAMS])
    return str(run.info.run_id)


def _metrics(client: Any, run_id: str, event: Mapping[str, Any], _folder: Path) -> None:
    from mlflow.entities import Metric

    points = [Metric(key, value, event["time"], event["step"]) for key, value in event["values"].items()]
    client.log_batch(run_id, metrics=points)


def _artifacts(client: Any, run_id: str, event: Mapping[str, Any], folder: Path) -> None:
    client.log_artifacts(run_id, str(folder / event["folder"]), event["name"])
    shutil.rmtree(folder / event["folder"])


def _tag(client: Any, run_id: str, event: Mapping[str, Any], _folder: Path) -> None:
    client.set_tag(run_id, event["key"], event["value"])


def _register(client: Any, run_id: str, event: Mapping[str, Any], _folder: Path) -> None:
    if not client.search_registered_models(f"name = '{event['model']}'"):
        client.create_registered_model(event["model"])
    source = f"{client.get_run(run_id).info.artifact_uri}/{event['artifact']}"
    version = client.create_model_version(event["model"], source, run_id, tags=event["tags"])
    client.set_tag(run_id, "registered_version", str(version.version))


def _finish(client: Any, run_id: str, event: Mapping[str, Any], _folder: Path) -> None:
    client.set_terminated(run_id, event["status"], event["time"])


_HANDLERS = {
    "metrics": _metrics,
    "artifacts": _artifacts,
    "tag": _tag,
    "register": _register,
    "finish": _finish,
}
