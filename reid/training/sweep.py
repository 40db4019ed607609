"""A training under Ray Tune: one trial or a search, retried, continued after a kill, every trial an MLflow
child run.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.config import Params, objective_of, settings_of, with_values
from reid.errors import ReidError
from reid.model_files import WEIGHTS
from reid.sockets import leave_room_for_sockets
from reid.training.out_of_memory import advice
from reid.training.places import absolute_uri, in_project
from reid.training.ray_trial import RUN_FILE, run_trial
from reid.training.resources import check_resources, threads_of
from reid.training.tracking import Tracker

__all__ = ["SweepResult", "best_trial", "forget", "search_space", "start_ray", "sweep_folder"]


@dataclass(frozen=True)
class SweepResult:
    """The best trial's folder and last figures, and for every trial that failed for good its name and the
    reason.
    """

    folder: Path
    figures: Mapping[str, Any]
    failures: Mapping[str, str]


def search_space(space: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, Any]:
    """``{"train.learning_rate": {"loguniform": [1e-4, 1e-3]}}``, checked when the params were read, as Ray
    Tune's distributions.
    """
    from ray import tune

    result = {}
    for key, distribution in space.items():
        ((name, arguments),) = distribution.items()
        drawn = getattr(tune, name)
        result[key] = drawn(arguments) if name == "choice" else drawn(*arguments)
    return result


def start_ray() -> None:
    """Join the cluster of ``RAY_ADDRESS``, or start Ray on this machine alone."""
    # Ray Tune's own tables would fight with the progress bar; 0 is its quiet writer.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ray runs its workers at nice 15, out of the way of others; here the trial is what everybody waits for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if "RAY_ADDRESS" not in os.environ and "ray" not in sys.modules:
        # What Ray chooses for a cluster of its own. Left to itself, it says so at each start; it reads this
        # when it is imported.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if not ray.is_initialized():
        leave_room_for_sockets()
        address = os.environ.get("RAY_ADDRESS")
        local = {} if address else {"include_dashboard": False}
        # "local": left to itself, Ray joins whatever cluster was last started here, and waits without end
        # where that one is dead.
        ray.init(
            address=address or "local",
            logging_level="ERROR",
            log_to_driver=False,
            configure_logging=False,
            **local,
        )


def best_trial(
    params: Params,
    objective: str,
    catalog: Path,
    *,
    start: Path | None,
    parent: str,
    on_result: Callable[[str, dict[str, Any]], None] | None = None,
    on_step: Callable[[str, int], None] | None = None,
) -> SweepResult:
    """Run ``params.tune.trials`` trials of an objective and return the best.

    A sweep that was killed is continued, its trials from their last checkpoints: its folder is named by a
    hash of everything that decides its result. With several trials ASHA stops the weak ones early and Optuna
    proposes the next. A trial that fails is tried ``params.tune.retries`` times more; the sweep goes on
    without those that fail for good, and their MLflow runs say why.

    Args:
        params: all parameters.
        objective: a key of ``params.objectives`` or ``params.pretrain``.
        catalog: the catalog file.
        start: a ``model.safetensors`` to start from.
        parent: the run, of a :class:`Tracker`, that the trials are children of.
        on_result: called with (trial name, figures) after each epoch of each trial.
        on_step: called with (trial name, step) now and then within an epoch.

    Raises:
        ReidError: every trial failed; the message is the first trial's.
    """
    start_ray()
    check_resources(params)
    from reid.training.callbacks import Listener

    Listener.on_result, Listener.on_step = on_result, on_step
    Listener.sweep = sweep_folder(params, objective, catalog, start)
    try:
        results = _tuner(params, objective, catalog, start, parent).fit()
    finally:
        Listener.on_result = Listener.on_step = Listener.sweep = None
    failures = {
        Path(result.path).name: _reason(result, params) for result in results if result.error is not None
    }
    _close_failed(params, results, failures)
    finished = [r for r in results if r.error is None and r.metrics and (Path(r.path) / WEIGHTS).exists()]
    if not finished:
        reason = next(iter(failures.values()), "no trial wrote a model")
        raise ReidError(f"every trial of {objective} failed: {reason}")
    metric = f"val_{params.tune.metric}"
    best = max(finished, key=lambda result: result.metrics.get(metric, float("-inf")))
    return SweepResult(Path(best.path), dict(best.metrics), failures)


def _tuner(params: Params, objective: str, catalog: Path, start: Path | None, parent: str) -> Any:
    """A new sweep, or the continuation of the one that was killed."""
    from ray import tune

    from reid.training.callbacks import Listener

    folder = sweep_folder(params, objective, catalog, start)
    trainable = tune.with_resources(
        tune.with_parameters(
            run_trial,
            params=_from_anywhere(params).model_dump(mode="json"),
            objective=objective,
            catalog=str(catalog.resolve()),
            start=str(start.resolve()) if start else None,
            parent=parent,
            sweep=str(folder),
        ),
        _resources(params),
    )
    if tune.Tuner.can_restore(folder):
        return tune.Tuner.restore(str(folder), trainable, resume_unfinished=True, restart_errored=True)
    run_config = tune.RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        failure_config=tune.FailureConfig(max_failures=params.tune.retries),
        callbacks=[Listener()],
        verbose=0,
    )
    return tune.Tuner(
        trainable,
        param_space=search_space(params.tune.space),
        tune_config=_tune_config(params, objective),
        run_config=run_config,
    )


def _from_anywhere(params: Params) -> Params:
    """Addresses that mean the same in the working directory of a trial, which is another one."""
    tracking = params.tracking
    return with_values(
        params,
        {"tracking.uri": absolute_uri(tracking.uri), "tracking.records": str(in_project(tracking.records))},
    )


def _resources(params: Params) -> dict[str, float]:
    """Of a trial; one of several workers leaves the processors to these, and asks for a byte because Ray
    refuses to ask for nothing.
    """
    if params.train.workers > 1:
        return {"cpu": 0, "memory": 1}
    return {"cpu": threads_of(params)} | ({"gpu": params.tune.gpus} if params.tune.gpus else {})


def _tune_config(params: Params, objective: str) -> Any:
    import optuna
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    # its news of each proposal would break the progress bar
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    tuned = params.tune
    goal = {"metric": f"val_{tuned.metric}", "mode": "max"}
    # One more than there are: ASHA stops a trial at max_t, and the last epoch is followed by writing the
    # model.
    trained = settings_of(params, objective)
    epochs = max(tuned.grace_epochs, -(-trained.steps // trained.epoch_steps)) + 1
    # By the epoch, not by Ray's count of reports: a continued trial tells its last epoch twice.
    asha = (
        ASHAScheduler(time_attr="epoch", max_t=epochs, grace_period=tuned.grace_epochs, **goal)
        if tuned.trials > 1
        else None
    )
    search = (
        ConcurrencyLimiter(OptunaSearch(seed=params.seed, **goal), tuned.concurrent) if tuned.space else None
    )
    concurrent = None if search else tuned.concurrent
    return tune.TuneConfig(
        num_samples=tuned.trials, max_concurrent_trials=concurrent, search_alg=search, scheduler=asha
    )


def forget(params: Params, folder: Path) -> None:
    """Remove a finished sweep's folder, given the folder of one of its trials; anything outside
    ``tune.storage`` is left alone.
    """
    storage = Path(params.tune.storage).resolve()
    if folder.resolve().is_relative_to(storage):
        shutil.rmtree(folder.resolve().parent)


def sweep_folder(params: Params, objective: str, catalog: Path, start: Path | None) -> Path:
    """Where a sweep keeps its state, named by a hash of everything that decides its result."""
    from reid.files import sha256_of

    decisive = {
        "params": params.model_dump(mode="json", include={"seed", "model", "tune"}),
        "train": settings_of(params, objective).model_dump(mode="json"),
        "objective": objective_of(params, objective).model_dump(mode="json"),
        "catalog": sha256_of(catalog),
        "start": sha256_of(start) if start else None,
    }
    name = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]
    return Path(params.tune.storage).resolve() / f"{objective}-{name}"


def _reason(result: Any, params: Params) -> str:
    """Why a trial failed, in one line."""
    text = str(result.error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "OutOfMemoryError" in text or "ActorDiedError" in text or "WorkerCrashedError" in text:
        batch = f"P x K = {params.train.identities} x {params.train.images}"
        way_out = f"if memory was short with {batch}, {advice(params.train.identities, params.train.images)}"
        return f"its process was ended from outside: {way_out}"
    return lines[-1].removeprefix("reid.errors.ReidError: ").removeprefix("reid.errors.UsageError: ")


def _close_failed(params: Params, results: Any, failures: Mapping[str, str]) -> None:
    """Close the MLflow runs of trials that could not do it themselves, with the reason."""
    tracker = Tracker.of(params.tracking)
    for result in results:
        run_file = Path(result.path) / RUN_FILE
        if result.error is not None and run_file.exists():
            tracker.tag(run_file.read_text(), "error", failures[run_file.parent.name])
            tracker.finish(run_file.read_text(), "FAILED")
