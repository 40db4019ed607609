"""What a Ray worker runs: one training in the trial's own folder, reported to Ray and MLflow each epoch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reid.config import Params, parse_params, with_values
from reid.files import read_json, write_json
from reid.model_files import HISTORY, SUMMARY
from reid.training.resources import threads_of
from reid.training.tracking import Tracker

__all__ = ["RUN_FILE", "STEP_FILE", "run_trial"]

RUN_FILE = "mlflow_run"
"""In the trial's folder: the name of its run, so that a second try, or a sweep that goes on, goes on in
the same run.
"""

STEP_FILE = "step.json"
"""In the trial's folder: the step that it is at, for whoever shows the progress; Ray itself hears of whole
epochs only.
"""
_STEP_EVERY_S = 2.0


def run_trial(
    config: dict[str, Any],
    *,
    params: dict[str, Any],
    objective: str,
    catalog: str,
    start: str | None,
    parent: str,
    sweep: str,
) -> None:
    """Train with ``config``, dotted keys of params.yaml, in place of the values in ``params``; all paths are
    absolute.

    The trial's folder is one of ``sweep``: Ray's own working directory for it lies on the node, is lost with
    it, and reaches the storage by copies now and then.
    """
    import ray
    from ray import tune

    tuned = with_values(parse_params(params), config)
    context = tune.get_context()
    folder = Path(sweep) / Path(context.get_trial_dir()).name
    folder.mkdir(parents=True, exist_ok=True)
    tracker = Tracker.of(tuned.tracking)
    run_file, tries_file = folder / RUN_FILE, folder / "tries.json"
    tries = 1 + (read_json(tries_file) if tries_file.exists() else 0)
    write_json(tries_file, tries)
    if run_file.exists():
        run = run_file.read_text()
    else:
        tags = {"objective": objective, "trial": context.get_trial_name(), "seed": str(tuned.seed)}
        run = tracker.start(context.get_trial_name(), config, tags, parent=parent)
        run_file.write_text(run)
    tracker.tag(run, "tries", str(tries))
    tracker.tag(run, "node", ray.get_runtime_context().get_node_id())
    work = {
        "params": tuned.model_dump(mode="json"), "objective": objective, "catalog": catalog, "start": start,
        "folder": str(folder), "run": run,
    }  # fmt: skip
    try:
        # A driver that was killed had not yet heard that this trial had ended.
        if (folder / SUMMARY).exists():
            tune.report(read_json(folder / HISTORY, "training history")[-1])
        elif tuned.train.workers > 1:
            _train_together(tuned, work)
        else:
            _train(work, tune.report)
    except Exception:
        tracker.finish(run, "FAILED")
        raise
    except BaseException:  # the scheduler stopped a weak trial, or somebody pressed Ctrl-C
        tracker.finish(run, "KILLED")
        raise
    tracker.finish(run)


def _train(work: dict[str, Any], report: Any) -> None:
    from reid.training.distributed import ALONE, Ranks
    from reid.training.trial import run_training

    params = parse_params(work["params"])
    ranks = Ranks.present() if params.train.workers > 1 else ALONE
    tracker = Tracker.of(params.tracking)

    def report_epoch(epoch: Any) -> None:
        if ranks.is_first:
            tracker.log(work["run"], epoch.figures, epoch.step)
        report({**epoch.figures, "epoch": epoch.number, "step": epoch.step})

    start = Path(work["start"]) if work["start"] else None
    folder = Path(work["folder"])
    run_training(
        params,
        work["objective"],
        Path(work["catalog"]),
        folder,
        start=start,
        on_epoch=report_epoch,
        on_step=_step_file(folder / STEP_FILE) if ranks.is_first else None,
        ranks=ranks,
    )


def _step_file(path: Path) -> Callable[[int, int], None]:
    """Keeps the step in a file, written now and then."""
    written = 0.0

    def note(step: int, _steps: int) -> None:
        nonlocal written
        if time.monotonic() - written >= _STEP_EVERY_S:
            written = time.monotonic()
            write_json(path, step)

    return note


def _train_with_ray(work: dict[str, Any]) -> None:
    import ray.train

    _train(work, ray.train.report)


def _train_together(params: Params, work: dict[str, Any]) -> None:
    """One training by several workers of Ray Train, which report through this trial."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from reid.training.distributed import backend_for

    resources: dict[str, float] = {"CPU": threads_of(params)} | (
        {"GPU": params.tune.gpus} if params.tune.gpus else {}
    )
    TorchTrainer(
        _train_with_ray,
        train_loop_config=work,
        scaling_config=ScalingConfig(
            num_workers=params.train.workers, use_gpu=params.tune.gpus > 0, resources_per_worker=resources
        ),
        torch_config=TorchConfig(backend=backend_for(params.tune.gpus)),
        run_config=RunConfig(name="workers", storage_path=work["folder"], callbacks=[TuneReportCallback()]),
    ).fit()
