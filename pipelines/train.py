"""Stage ``train@OBJECTIVE``: one Ray Tune run -> ``models/OBJECTIVE``, tracked by MLflow and registered."""

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

from pipelines.console import progress_bar, run_stage, say
from reid.config import OBJECTIVES, Params, load_params
from reid.data.catalog import read_catalog
from reid.errors import UsageError
from reid.files import atomic_directory, atomic_path, existing, read_json, write_json

REGISTERED = "reid-embedder"


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys."""
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    return {key: leaf for name, part in value.items() for key, leaf in flatten(part, f"{prefix}{name}.").items()}


def train_objective(params: Params, objective: str, catalog: Path, start: Path | None, out: Path, reports: Path) -> None:
    """Run the trials, keep the best one's model as ``out`` and its curves as ``reports``, and register it."""
    from reid.data.store import open_store
    from reid.training.sweep import best_trial, forget
    from reid.training.tracking import Tracker, provenance

    data = read_catalog(catalog)
    with progress_bar("decoding images") as progress:
        for split in ("train", "val"):
            open_store(data.split(split), params.model.height, params.model.width, progress)
    origin = provenance() | {"data_hash": data.data_hash, "objective": objective}
    tracker = Tracker(params.tracking.uri, params.tracking.experiment)
    parent = tracker.start(objective, flatten(params.model_dump(mode="json")), origin)
    steps = params.objectives[objective].steps or params.train.steps  # type: ignore[index]
    try:
        with progress_bar(f"training {objective}") as progress:
            done: dict[str, int] = {}

            def note(trial: str, figures: dict[str, Any]) -> None:
                done[trial] = int(figures["step"])
                progress(sum(done.values()), steps * params.tune.trials)

            progress(0, steps * params.tune.trials)
            folder, figures = best_trial(params, objective, catalog, start=start, parent=parent, on_result=note)
        numbers = {key: float(value) for key, value in figures.items() if isinstance(value, float | int) and key.startswith("val_")}
        with atomic_directory(out) as temporary:
            for name in ("model.safetensors", "objective.safetensors", "tree.npz", "pair_metric.safetensors"):
                if (folder / name).exists():
                    shutil.copy2(folder / name, temporary / name)
            facts = origin | {"mlflow_run_id": parent, "figures": numbers}
            write_json(temporary / "training.json", facts)
        history = read_json(folder / "history.json", "training history")
        write_history(history, reports / f"{objective}.csv")
        write_json(reports / f"{objective}.json", numbers)
        tracker.log(parent, numbers, int(figures["step"]))
        tracker.artifacts(parent, out, "model")
        version = tracker.register(parent, "model", REGISTERED, origin)
        tracker.tag(parent, "registered_version", version)
    except BaseException:
        tracker.finish(parent, "FAILED")
        raise
    tracker.finish(parent)
    forget(params, folder)
    figure = numbers.get("val_mean_ap")
    say(f"{objective}: validation mAP {figure:.3f}" if figure is not None else f"{objective}: trained; no validation people to score on")


def write_history(history: list[dict[str, float]], path: Path) -> None:
    """The learning curves as CSV, one row an epoch, for ``dvc plots``."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(history)


def main() -> None:
    """``python -m pipelines.train OBJECTIVE``."""
    objective = sys.argv[1] if len(sys.argv) == 2 else ""
    if objective not in OBJECTIVES:
        raise UsageError(f"objective is {objective!r}: choose one of {', '.join(OBJECTIVES)}")
    # Ge 2018, section 4.3: the hierarchical loss starts from a model trained with the plain triplet loss.
    start = existing("models/batch_hard/model.safetensors", "the model to start from") if objective == "hierarchical" else None
    train_objective(load_params(), objective, Path("data/catalog.parquet"), start, Path("models") / objective, Path("reports/train"))


if __name__ == "__main__":
    run_stage(main)
