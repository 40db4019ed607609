"""MLflow: what was run, on what, with which result. Runs are named by explicit ids: trials of Ray Tune
inherit nothing.
"""

import math
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.addresses import redacted, redacted_text
from reid.config import TrackingParams
from reid.errors import ReidError, UsageError
from reid.training.places import StoreError, absolute_uri, in_project, sqlite_file
from reid.training.record import RunRecord, deliver, find_run

__all__ = ["StoreError", "Tracker", "absolute_uri", "is_absent"]

_PAUSE_S = 30.0
"""After a failure MLflow is left alone so long: a training must not wait for a server that is down."""


_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


def is_absent(error: Exception) -> bool:
    """Whether MLflow's error says that it has no such thing: a run, a version, an alias that points
    nowhere.
    """
    return getattr(error, "error_code", "") in _ABSENT


class Tracker:
    """One MLflow experiment, reached by client calls only (no global active run).

    Everything is first written to a local record and then sent to MLflow. Where MLflow cannot be reached,
    nothing is raised: ``problem`` says why, and the record waits for :meth:`deliver`. Runs are named by their
    records; :meth:`run_id` gives MLflow's own id.

    Args:
        uri: tracking URI; see :func:`absolute_uri`.
        experiment: its name; made where it does not exist, with artifacts in ``mlruns`` of the present
            directory for SQLite.
        records: folder of the local records.

    Raises:
        UsageError: the URI is of no kind that MLflow knows.
    """

    def __init__(self, uri: str, experiment: str, records: Path | str) -> None:
        # MLflow's own patience with a dead server, seven tries with growing pauses, would stop the training
        # for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        import mlflow
        from mlflow.tracking import MlflowClient
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError  # MLflow lets the database's own errors through

        self.uri = absolute_uri(uri)
        self.experiment = experiment
        self.records = in_project(records)
        self.shown = redacted(self.uri)  # for messages
        self.problem: str | None = None
        self.only_asked = False  # then nothing is made in the store
        self.errors = (
            StoreError,
            mlflow.exceptions.MlflowException,
            SQLAlchemyError,
            RequestException,
            OSError,
            UnicodeDecodeError,  # of a damaged database
        )
        self._experiment_id: str | None = None
        self._not_before = 0.0
        self._make_client = lambda: MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self._client: Any = None
        if self.uri.partition(":")[0] not in (
            "sqlite",
            "http",
            "https",
            "file",
            "postgresql",
            "mysql",
            "mssql",
            "databricks",
        ):
            raise UsageError(
                f"tracking.uri is {redacted(uri)!r}: want e.g. sqlite:///mlflow.db or http://127.0.0.1:5000"
            )

    @classmethod
    def of(cls, tracking: TrackingParams) -> "Tracker":
        """The experiment that params.yaml names."""
        return cls(tracking.uri, tracking.experiment, tracking.records)

    def read_from(self, copy: Path) -> None:
        """Ask a copy of the SQLite database in place of itself."""
        from mlflow.tracking import MlflowClient

        uri = f"sqlite:///{copy}"
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    @property
    def client(self) -> Any:
        """MLflow's client, made at first use: with a database that already asks the server."""
        self._client = self._client or self._make_client()
        return self._client

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment, made at first use."""
        if self._experiment_id is None:
            found = self.client.get_experiment_by_name(self.experiment)
            if found is None and self.only_asked:
                raise StoreError(
                    f"MLflow at {self.shown} has no experiment {self.experiment!r}: correct "
                    "tracking.experiment, or train first"
                )
            if found is None:
                local = in_project("mlruns").as_uri() if self.uri.startswith("sqlite") else None
                self._experiment_id = str(
                    self.client.create_experiment(self.experiment, artifact_location=local)
                )
            else:
                self._check(found)
                self._experiment_id = str(found.experiment_id)
        return self._experiment_id

    def _check(self, experiment: Any) -> None:
        """Refuse an experiment that cannot be written to, or whose artifacts would go into another copy of
        the project.
        """
        if experiment.lifecycle_stage == "deleted":
            raise StoreError(
                f"experiment {self.experiment!r} was deleted in MLflow: bring it back with "
                f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, or give "
                "tracking.experiment another name"
            )
        database, place = sqlite_file(self.uri), str(experiment.artifact_location)
        if database is None or database.parent != in_project("."):
            return  # a server, or a store that several projects share, keeps its artifacts where it likes
        if (
            place.startswith("file:")
            and place.endswith("/mlruns")
            and place != (database.parent / "mlruns").as_uri()
        ):
            raise StoreError(
                f"the artifacts of {database} are at {place}, from where the project was moved: run "
                "`reid runs relocate`"
            )

    def start(
        self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None
    ) -> str:
        """Open a run and return its name; ``parent`` makes it a child."""
        run = uuid.uuid4().hex
        written = {key: str(value)[:500] for key, value in params.items()}
        self._send(run, "start", name=name, params=written, tags=dict(tags), parent=parent)
        return run

    def log(self, run: str, figures: Mapping[str, float], step: int) -> None:
        """Add a point to each figure's curve; figures that are not finite are left out."""
        values = {key: float(value) for key, value in figures.items() if math.isfinite(value)}
        self._send(run, "metrics", step=step, values=values)

    def artifacts(self, run: str, path: Path, name: str) -> None:
        """Copy a folder's content, or a file, into the folder ``name`` of the run's artifacts; ``run`` may be
        MLflow's own id here.
        """
        self._send(run, "artifacts", folder=self._record(run).keep(path), name=name)

    def tag(self, run: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self._send(run, "tag", key=key, value=value)

    def register(self, run: str, artifact: str, model: str, tags: Mapping[str, str]) -> None:
        """Make an artifact folder of a run a new version of a registered model; the run's tag
        ``registered_version`` tells its number.
        """
        self._send(run, "register", artifact=artifact, model=model, tags=dict(tags))

    def finish(self, run: str, status: str = "FINISHED") -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        self._send(run, "finish", status=status)

    def run_id(self, run: str) -> str | None:
        """MLflow's id of a run, or None where MLflow has not heard of it."""
        known = self._record(run).state["run_id"]
        try:
            return known or find_run(self.client, self.experiment_id, run)
        except self.errors as error:
            self._give_up(error)
            return None

    def deliver(self) -> list[str]:
        """Send MLflow what all records hold, earlier commands' included; returns the names of those that
        still wait.
        """
        self._not_before = 0.0
        for folder in sorted(self.records.glob("*/")):
            self._try(RunRecord(folder))
        return [folder.name for folder in sorted(self.records.glob("*/")) if _waits(RunRecord(folder))]

    def _record(self, run: str) -> RunRecord:
        return RunRecord(self.records / run)

    def _send(self, run: str, do: str, **what: Any) -> None:
        record = self._record(run)
        record.append(do, **what)
        self._try(record)

    def _try(self, record: RunRecord) -> None:
        if time.monotonic() < self._not_before:
            return
        try:
            deliver(self.client, self.experiment_id, record)
        except (*self.errors, ReidError) as error:  # ReidError: the record itself cannot be written
            self._give_up(error)
        else:
            self.problem = None

    def _give_up(self, error: Exception) -> None:
        self.problem = redacted_text(str(error).splitlines()[0])
        self._not_before = time.monotonic() + _PAUSE_S


def _waits(record: RunRecord) -> bool:
    return len(record.events()) > int(record.state["events"])
