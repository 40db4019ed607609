"""A training under Ray Tune: one trial or a search, retried, continued after a kill, every trial an MLflow child run."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reid.config import Params, with_values
from reid.errors import ReidError, UsageError
from reid.training.tracking import Tracker, absolute_uri

__all__ = ["best_trial", "forget", "search_space", "start_ray"]

_DISTRIBUTIONS = {"choice": 1, "uniform": 2, "loguniform": 2, "randint": 2, "quniform": 3}


def search_space(space: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """``{"train.learning_rate": {"loguniform": [1e-4, 1e-3]}}`` as Ray Tune's distributions.

    Raises:
        UsageError: a distribution is unknown or has the wrong number of arguments; the message names the key.
    """
    from ray import tune

    result = {}
    for key, distribution in space.items():
        name, arguments = next(iter(distribution.items())) if len(distribution) == 1 else ("", [])
        if name not in _DISTRIBUTIONS:
            raise UsageError(
                f"tune.space.{key}: want exactly one of {', '.join(_DISTRIBUTIONS)}, not {', '.join(distribution) or 'nothing'}"
            )
        if name == "choice":
            result[key] = tune.choice(arguments)
        elif len(arguments) != _DISTRIBUTIONS[name]:
            raise UsageError(f"tune.space.{key}.{name}: want {_DISTRIBUTIONS[name]} values, not {len(arguments)}")
        else:
            result[key] = getattr(tune, name)(*arguments)
    return result


def start_ray() -> None:
    """Join the cluster of ``RAY_ADDRESS``, or start Ray on this machine alone."""
    # Ray Tune's own tables would fight with the progress bar; 0 is its quiet writer.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ray runs its workers at nice 15, out of the way of others; here the trial is what everybody waits for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        local = {} if address else {"include_dashboard": False}
        # "local": left to itself, Ray joins whatever cluster was last started here, and waits without end where that one is dead.
        ray.init(address=address or "local", logging_level="ERROR", log_to_driver=False, configure_logging=False, **local)


def _trial(config: dict[str, Any], *, params: dict[str, Any], objective: str, catalog: str, start: str | None, parent: str) -> None:
    """What a Ray worker runs: one training in the trial's own folder, reported to Ray and MLflow each epoch."""
    from ray import tune

    from reid.config import parse_params
    from reid.training.trial import run_training

    tuned = with_values(parse_params(params), config)
    context = tune.get_context()
    folder = Path(context.get_trial_dir())
    tracker = Tracker(tuned.tracking.uri, tuned.tracking.experiment)
    run_file = folder / "mlflow_run_id"
    if run_file.exists():  # a retry goes on in the same run
        run_id = run_file.read_text()
    else:
        tags = {"objective": objective, "trial": context.get_trial_name()}
        run_id = tracker.start(context.get_trial_name(), config, tags, parent=parent)
        run_file.write_text(run_id)

    def report(epoch: Any) -> None:
        tracker.log(run_id, epoch.figures, epoch.step)
        tune.report({**epoch.figures, "step": epoch.step, "run_id": run_id})

    try:
        run_training(tuned, objective, Path(catalog), folder, start=Path(start) if start else None, on_epoch=report)
    except Exception:
        tracker.finish(run_id, "FAILED")
        raise
    except BaseException:  # the scheduler stopped a weak trial, or somebody pressed Ctrl-C
        tracker.finish(run_id, "KILLED")
        raise
    tracker.finish(run_id)


def best_trial(
    params: Params,
    objective: str,
    catalog: Path,
    *,
    start: Path | None,
    parent: str,
    on_result: Callable[[str, dict[str, Any]], None] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Run ``params.tune.trials`` trials of an objective and return the folder and last figures of the best.

    A run that was killed is continued: its name is a hash of everything that decides its result. With several trials ASHA stops
    the weak ones early and Optuna proposes the next.

    Args:
        params: all parameters.
        objective: a key of ``params.objectives``.
        catalog: the catalog file.
        start: a ``model.safetensors`` to start from.
        parent: the MLflow run that the trials are children of.
        on_result: called with (trial name, figures) after each epoch of each trial.

    Raises:
        ReidError: every trial failed; the message is the first trial's.
    """
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    start_ray()
    tuned = params.tune
    metric = f"val_{tuned.metric}"
    storage = Path(tuned.storage).resolve()
    name = f"{objective}-{_name(params, objective, catalog, start)}"
    trainable = tune.with_resources(
        tune.with_parameters(
            _trial,
            params=_from_anywhere(params).model_dump(mode="json"),
            objective=objective,
            catalog=str(catalog.resolve()),
            start=str(start.resolve()) if start else None,
            parent=parent,
        ),
        {"cpu": params.train.threads},
    )
    space = search_space(tuned.space)
    search = OptunaSearch(metric=metric, mode="max", seed=params.seed) if space else None
    run_config = tune.RunConfig(
        name=name,
        storage_path=str(storage),
        failure_config=tune.FailureConfig(max_failures=tuned.retries),
        callbacks=[_callback(on_result)] if on_result else [],
        verbose=0,
    )
    if tune.Tuner.can_restore(storage / name):
        tuner = tune.Tuner.restore(str(storage / name), trainable, resume_unfinished=True, restart_errored=True)
    else:
        # One more than there are: ASHA stops a trial at max_t, and the last epoch is followed by writing the model.
        epochs = max(tuned.grace_epochs, -(-params.train.steps // params.train.epoch_steps)) + 1
        scheduler = ASHAScheduler(max_t=epochs, grace_period=tuned.grace_epochs, metric=metric, mode="max") if tuned.trials > 1 else None
        tune_config = tune.TuneConfig(
            num_samples=tuned.trials,
            max_concurrent_trials=None if search else tuned.concurrent,
            search_alg=ConcurrencyLimiter(search, tuned.concurrent) if search else None,
            scheduler=scheduler,
        )
        tuner = tune.Tuner(trainable, param_space=space, tune_config=tune_config, run_config=run_config)
    results = tuner.fit()
    finished = [r for r in results if r.error is None and r.metrics and (Path(r.path) / "model.safetensors").exists()]
    if not finished:
        raise ReidError(f"every trial of {objective} failed: {_reason(results)}")
    best = max(finished, key=lambda result: result.metrics.get(metric, float("-inf")))
    return Path(best.path), dict(best.metrics)


def forget(params: Params, folder: Path) -> None:
    """Remove a finished sweep's folder, given the folder of one of its trials; anything outside ``tune.storage`` is left alone."""
    storage = Path(params.tune.storage).resolve()
    if folder.resolve().is_relative_to(storage):
        shutil.rmtree(folder.resolve().parent)


def _from_anywhere(params: Params) -> Params:
    """With a tracking address that means the same in the working directory of a trial, which is another one."""
    return with_values(params, {"tracking.uri": absolute_uri(params.tracking.uri)})


def _name(params: Params, objective: str, catalog: Path, start: Path | None) -> str:
    from reid.files import sha256_of

    decisive = {
        "params": params.model_dump(mode="json", include={"seed", "model", "train", "tune"}),
        "objective": params.objectives[objective].model_dump(mode="json"),  # type: ignore[index]
        "catalog": sha256_of(catalog),
        "start": sha256_of(start) if start else None,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]


def _reason(results: Any) -> str:
    for result in results:
        if result.error is not None:
            lines = [line for line in str(result.error).splitlines() if line.strip()]
            return lines[-1].strip()
    return "no trial wrote a model"


def _callback(on_result: Callable[[str, dict[str, Any]], None]) -> Any:
    from ray.tune import Callback

    class Report(Callback):
        """Passes results on. Ray pickles callbacks with the sweep's state; a progress bar does not pickle and is left behind."""

        on_result: Callable[[str, dict[str, Any]], None] | None = None

        def __getstate__(self) -> dict[str, Any]:
            return {"on_result": None}

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
            if self.on_result is not None:
                self.on_result(str(trial), result)

    report = Report()
    # Set from outside: what the class body names would be pickled with the class.
    report.on_result = on_result
    return report
