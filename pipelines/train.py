"""Stage ``train@OBJECTIVE``: one Ray Tune run -> ``models/OBJECTIVE``, tracked by MLflow and registered."""

import csv
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipelines.stage.console import progress_bar, run_stage, say, working
from pipelines.stage.decoded import decode
from pipelines.stage.places import CATALOG, MODELS, TRAIN_REPORTS
from pipelines.stage.run_log import REGISTERED
from reid.addresses import redacted
from reid.config import UNTRAINED, Params, load_params, settings_of
from reid.data.catalog import Catalog, read_catalog
from reid.errors import UsageError
from reid.files import atomic_directory, atomic_path, existing, read_json, sha256_of, write_json
from reid.model_files import HISTORY, KEPT, RECORD, WEIGHTS

if TYPE_CHECKING:
    from reid.training.tracking import Tracker


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys."""
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    return {
        key: leaf for name, part in value.items() for key, leaf in flatten(part, f"{prefix}{name}.").items()
    }


def train_objective(
    params: Params, objective: str, catalog: Path, start: Path | None, out: Path, reports: Path
) -> None:
    """Run the trials of an objective or a pre-training, keep the best one's model as ``out`` and its curves
    as ``reports``, and tell MLflow.
    """
    from reid.training.provenance import provenance
    from reid.training.sweep import SweepResult, best_trial, forget, sweep_folder
    from reid.training.tracking import Tracker

    data = read_catalog(catalog)
    decode([data.split("train"), data.split("val")], params.model.height, params.model.width)
    origin = provenance() | {"data_hash": data.data_hash, "objective": objective, "seed": str(params.seed)}
    tracker = Tracker.of(params.tracking)
    run = open_run(tracker, params, objective, origin, sweep_folder(params, objective, catalog, start))
    try:
        with listening(params, objective) as note:
            result: SweepResult = best_trial(
                params,
                objective,
                catalog,
                start=start,
                parent=run,
                on_result=lambda trial, figures: note(trial, int(figures["step"]), figures),
                on_step=note,
            )
        for trial, reason in result.failures.items():
            say(f"{objective}: trial {trial} failed and was left out: {reason}")
        numbers = {
            key: float(value)
            for key, value in result.figures.items()
            if isinstance(value, float | int) and key.startswith("val_")
        }
        facts = origin | {"validation_hash": data.split("val").data_hash}
        keep_model(
            result.folder, facts | {"mlflow_run_id": tracker.run_id(run) or run, "figures": numbers}, out
        )
        history = read_json(result.folder / HISTORY, "training history")
        write_history(history, reports / f"{objective}.csv")
        write_json(reports / f"{objective}.json", numbers)
        for row in history:  # the parent run shows the curves of its best trial
            figures = {key: value for key, value in row.items() if key not in ("epoch", "step")}
            tracker.log(run, figures, int(row["step"]))
        with working(f"drawing and logging {objective}"):
            log_result(tracker, run, params, data, out)
    except BaseException:
        tracker.finish(run, "FAILED")
        raise
    tracker.finish(run)
    forget(params, result.folder)
    _say_outcome(objective, numbers.get("val_mean_ap"), data.split("val"))
    if tracker.deliver():
        say(
            f"MLflow at {tracker.shown} cannot be reached ({tracker.problem}): the run is kept, `reid "
            "runs deliver` logs it"
        )


def _say_outcome(objective: str, figure: float | None, held: Catalog) -> None:
    from reid.evaluation.within_camera import WITHIN_CAMERA, seen_by_two

    if figure is not None and not seen_by_two(held.identities, held.cameras):
        say(WITHIN_CAMERA)
    say(
        f"{objective}: validation mAP {figure:.3f}"
        if figure is not None
        else f"{objective}: trained; no validation people to score on"
    )


def open_run(tracker: "Tracker", params: Params, objective: str, origin: dict[str, str], folder: Path) -> str:
    """The run of this training; where the training was killed and goes on, the same run as before."""
    from reid.training.provenance import installed_packages
    from reid.training.ray_trial import RUN_FILE

    run_file = folder / RUN_FILE
    if run_file.exists():
        return run_file.read_text()
    values = flatten(params.model_dump(mode="json")) | {"tracking.uri": redacted(params.tracking.uri)}
    run = tracker.start(objective, values, origin)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "packages.txt").write_text(installed_packages())
        tracker.artifacts(run, Path(name), "environment")
    with atomic_path(run_file) as temporary:
        temporary.write_text(run)
    return run


@contextmanager
def listening(params: Params, objective: str) -> Iterator[Callable[..., None]]:
    """Progress over the steps of all trials; what is yielded takes (trial, step) and, after an epoch, its
    figures. A trial whose embeddings have become one is named once.
    """
    from reid.losses.projection import collapse

    total = settings_of(params, objective).steps * params.tune.trials
    done: dict[str, int] = {}
    collapsed: set[str] = set()
    with progress_bar(f"training {objective}") as progress:
        progress(0, total)

        def note(trial: str, step: int, figures: Mapping[str, Any] = MappingProxyType({})) -> None:
            done[trial] = step
            progress(sum(done.values()), total)
            line = collapse(figures)
            if line is not None and trial not in collapsed:
                collapsed.add(trial)
                say(f"{objective}: {trial} at step {step}: {line}")

        yield note


def keep_model(trial: Path, facts: dict[str, Any], out: Path) -> None:
    """The files of the best trial, and ``training.json``, as the stage's output."""
    with atomic_directory(out) as temporary:
        for name in KEPT:
            if (trial / name).exists():
                shutil.copy2(trial / name, temporary / name)
        facts = facts | {"model_sha256": sha256_of(temporary / WEIGHTS)}
        write_json(temporary / RECORD, facts)


def log_result(tracker: "Tracker", run: str, params: Params, data: Catalog, out: Path) -> None:
    """Pictures and the loadable model of a finished training, and a new version of the registered model. No
    version of a pre-training: objectives start from it, nobody is found with it.
    """
    from pipelines.pages.training_pictures import draw_training
    from reid.data.store import open_store
    from reid.models.embedder import load_model
    from reid.training.packaging import save_pyfunc

    facts = read_json(out / RECORD)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, spec = load_model(out / WEIGHTS)
        (folder / "pictures").mkdir()
        draw_training(params, data.split("val"), out, folder / "pictures")
        tracker.artifacts(run, folder / "pictures", "pictures")
        example = open_store(data.split("train"), spec.height, spec.width)[:1]
        save_pyfunc(out / WEIGHTS, example, folder / "model")
        tracker.artifacts(run, folder / "model", "model")
    tags = {
        key: str(facts[key])
        for key in ("objective", "git_commit", "data_hash", "validation_hash", "model_sha256")
    }
    tracker.tag(run, "model_sha256", facts["model_sha256"])
    if facts["objective"] not in params.pretrain:
        tracker.register(
            run, "model", REGISTERED, tags | {key: repr(value) for key, value in facts["figures"].items()}
        )


def write_history(history: list[dict[str, float]], path: Path) -> None:
    """The learning curves as CSV, one row an epoch, for ``dvc plots``."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(history)


def main() -> None:
    """``python -m pipelines.train OBJECTIVE``."""
    params = load_params()
    objective = sys.argv[1] if len(sys.argv) == 2 else ""
    if objective not in params.objectives:
        raise UsageError(
            f"objective is {objective!r}: add it to objectives of params.yaml, or take "
            f"{', '.join(params.objectives)}"
        )
    from reid.training.checks import check_catalog, check_objective, check_space
    from reid.training.trial import first_model

    check_objective(params, objective)
    check_space(params, objective)
    check_catalog(params, objective, read_catalog(CATALOG))
    begin = params.objectives[objective].start
    start = None
    if begin != UNTRAINED:  # else a trial builds its network itself, for a sweep may choose among networks
        start = existing(MODELS / begin / WEIGHTS, "the model to start from")
        first_model(params, start)  # one of another backbone is refused here, before Ray starts
    train_objective(params, objective, CATALOG, start, MODELS / objective, TRAIN_REPORTS)


if __name__ == "__main__":
    run_stage(main)
