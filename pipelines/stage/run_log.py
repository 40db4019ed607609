"""What stages after the training add to its MLflow run."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.stage.console import say
from reid.config import TrackingParams

__all__ = ["REGISTERED", "log_outputs"]

REGISTERED = "reid-embedder"
"""The registered model in MLflow: every training is a version, the champion has an alias."""


def log_outputs(tracking: TrackingParams, run_id: str, name: str, outputs: Iterable[Path], what: str) -> None:
    """Add files and folders to the folder ``name`` of a run's artifacts, or say that ``what`` waits until
    MLflow can be reached.
    """
    from reid.training.tracking import Tracker

    tracker = Tracker.of(tracking)
    for output in outputs:
        tracker.artifacts(run_id, output, name)
    if tracker.problem is not None:
        say(
            f"MLflow at {tracker.shown} cannot be reached ({tracker.problem}): {what} are kept, `reid "
            "runs deliver` logs them"
        )
