"""MLflow: what was run, on what, with which result. Runs are named by explicit ids: trials of Ray Tune inherit nothing."""

import math
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.errors import ReidError

__all__ = ["Tracker", "absolute_uri", "provenance"]


def absolute_uri(uri: str) -> str:
    """A tracking URI that means the same from every working directory: relative SQLite paths become absolute."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith("sqlite:////"):
        return prefix + str(Path(uri.removeprefix(prefix)).resolve())
    return uri


def provenance() -> dict[str, str]:
    """The git commit and whether the work tree differs from it; ``unknown`` outside a repository."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:  # a container without git
        commit = changes = None
    return {"git_commit": commit or "unknown", "git_dirty": "unknown" if changes is None else str(bool(changes)).lower()}


class Tracker:
    """One MLflow experiment, reached by client calls only (no global active run).

    Args:
        uri: tracking URI; see :func:`absolute_uri`.
        experiment: its name; made where it does not exist, with artifacts in ``mlruns`` of the present directory for SQLite.

    Raises:
        ReidError: the store cannot be reached.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        import mlflow
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError  # MLflow lets the database's own errors through

        self.uri = absolute_uri(uri)
        self._errors = mlflow.exceptions.MlflowException
        try:
            self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            found = self.client.get_experiment_by_name(experiment)
            if found is None:
                local = Path("mlruns").resolve().as_uri() if self.uri.startswith("sqlite") else None
                self.experiment_id = self.client.create_experiment(experiment, artifact_location=local)
            else:
                self.experiment_id = found.experiment_id
        except (self._errors, SQLAlchemyError) as error:
            reason = str(error).splitlines()[0]
            raise ReidError(f"MLflow at {uri} cannot be reached ({reason}): correct tracking.uri or start the server") from error

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None) -> str:
        """Open a run and return its id; ``parent`` makes it a child."""
        from mlflow.entities import Param

        extra = {"mlflow.parentRunId": parent} if parent else {}
        run = self.client.create_run(self.experiment_id, run_name=name, tags={**tags, **extra})
        self.client.log_batch(run.info.run_id, params=[Param(key, str(value)[:500]) for key, value in params.items()])
        return str(run.info.run_id)

    def log(self, run_id: str, figures: Mapping[str, float], step: int) -> None:
        """Add a point to each figure's curve; figures that are not finite are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(key, float(value), now, step) for key, value in figures.items() if math.isfinite(value)]
        self.client.log_batch(run_id, metrics=points)

    def artifacts(self, run_id: str, folder: Path, name: str) -> None:
        """Copy a folder into the run's artifacts."""
        self.client.log_artifacts(run_id, str(folder), name)

    def artifact(self, run_id: str, file: Path, name: str) -> None:
        """Copy a file into a folder of the run's artifacts."""
        self.client.log_artifact(run_id, str(file), name)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self.client.set_tag(run_id, key, value)

    def finish(self, run_id: str, status: str = "FINISHED") -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def register(self, run_id: str, artifact: str, model: str, tags: Mapping[str, str]) -> str:
        """Make an artifact folder of a run a new version of a registered model and return the version."""
        try:
            self.client.get_registered_model(model)
        except self._errors:
            self.client.create_registered_model(model)
        source = f"{self.client.get_run(run_id).info.artifact_uri}/{artifact}"
        version = self.client.create_model_version(model, source, run_id, tags=dict(tags))
        return str(version.version)

    def promote(self, model: str, version: str, alias: str = "champion") -> None:
        """Point an alias of a registered model at a version."""
        self.client.set_registered_model_alias(model, alias, version)
