"""Stage ``select``: the objective with the best validation figure -> ``selected``."""

import shutil
from pathlib import Path

from pipelines.console import run_stage, say
from pipelines.train import REGISTERED
from reid.config import OBJECTIVES, load_params
from reid.errors import ReidError
from reid.files import atomic_directory, read_json, write_json


def main() -> None:
    """Choose by the people held out of training, never by query or gallery, and point the registry's champion at the choice."""
    from reid.training.tracking import Tracker

    params = load_params()
    key = f"val_{params.tune.metric}"
    facts = {name: read_json(Path("models") / name / "training.json", "training record") for name in OBJECTIVES}
    scores = {name: fact["figures"].get(key) for name, fact in facts.items()}
    missing = [name for name, score in scores.items() if score is None]
    if missing:
        raise ReidError(f"{missing[0]} has no {key}: set data.validation_share above 0 so that there are people to choose by")
    chosen = max(OBJECTIVES, key=lambda name: scores[name])
    with atomic_directory("selected") as temporary:
        for path in sorted((Path("models") / chosen).iterdir()):
            shutil.copy2(path, temporary / path.name)
    write_json("reports/selection.json", {"chosen": chosen, key: scores})
    tracker = Tracker(params.tracking.uri, params.tracking.experiment)
    version = tracker.client.get_run(facts[chosen]["mlflow_run_id"]).data.tags["registered_version"]
    tracker.promote(REGISTERED, version)
    say(f"chosen: {chosen} ({', '.join(f'{name} {score:.3f}' for name, score in scores.items())} {key} on validation people)")


if __name__ == "__main__":
    run_stage(main)
