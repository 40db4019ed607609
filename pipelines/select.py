"""Stage ``select``: the objective with the best validation figure -> ``selected``; it becomes champion if it
beats the present one.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.stage.console import run_stage, say, working
from pipelines.stage.places import CATALOG, MODELS, SELECTED, SELECTION
from pipelines.stage.run_log import REGISTERED
from reid.addresses import redacted_text
from reid.config import Params, load_params
from reid.data.catalog import read_catalog
from reid.errors import ReidError
from reid.files import atomic_directory, write_json
from reid.model_files import RECORD
from reid.text_files import read_object

if TYPE_CHECKING:
    from reid.training.champion import Version
    from reid.training.tracking import Tracker


def champion_figure(tracker: "Tracker", champion: "Version", key: str, validation_hash: str) -> float | None:
    """The champion's figure on the present validation people: as recorded, or measured now where it was
    scored on others.
    """
    from reid.data.store import open_store
    from reid.models.embedder import load_model
    from reid.training.champion import fetch_weights
    from reid.training.validation import validate

    recorded = champion.figure(key, validation_hash)
    if recorded is not None:
        return recorded
    with tempfile.TemporaryDirectory() as name:
        weights = fetch_weights(tracker, champion, Path(name))
        if weights is None:
            return None
        model, spec = load_model(weights)
        people = read_catalog(CATALOG).split("val")
        with working("measuring the champion on the present validation people"):
            images = open_store(people, spec.height, spec.width)
            return validate(model, images, people.identities, people.cameras, people.order).get(key)


def challenge(params: Params, facts: dict[str, Any], name: str, key: str) -> str:
    """Let the chosen model challenge the champion; returns what came of it, in words."""
    from reid.training.champion import judge_challenger, present_champion, promote, version_of
    from reid.training.tracking import Tracker

    tracker = Tracker.of(params.tracking)
    tracker.deliver()
    try:
        run_id = tracker.run_id(facts["mlflow_run_id"]) or facts["mlflow_run_id"]
        version = version_of(tracker, REGISTERED, run_id) if tracker.problem is None else None
        if version is None:
            reason = tracker.problem or "it does not know the run"
            return (
                f"the champion stays: MLflow at {tracker.shown} cannot be asked ({reason}); run "
                "`dvc repro -f select` when it can"
            )
        champion = present_champion(tracker, REGISTERED)
        if champion is not None and champion.number == version.number:
            return f"{name} is the champion already (version {version.number})"
        present = read_catalog(CATALOG).split("val").data_hash
        theirs = None if champion is None else champion_figure(tracker, champion, key, present)
        verdict = judge_challenger(
            name, facts["figures"][key], None if champion is None else champion.number, theirs, key
        )
        if verdict.promote:
            promote(tracker, REGISTERED, version)
        return verdict.reason
    except tracker.errors as error:
        return (
            f"the champion stays: MLflow at {tracker.shown} cannot be asked "
            f"({redacted_text(str(error).splitlines()[0])})"
        )


def main() -> None:
    """Choose by the people held out of training, never by query or gallery, and let the choice challenge the
    champion.
    """
    params = load_params()
    key = f"val_{params.tune.metric}"
    names = list(params.objectives)
    facts = {
        name: read_object(MODELS / name / RECORD, "training record", figures=dict, mlflow_run_id=str)
        for name in names
    }
    scores = {name: fact["figures"].get(key) for name, fact in facts.items()}
    missing = [name for name, score in scores.items() if score is None]
    if missing:
        raise ReidError(
            f"{missing[0]} has no {key}, because no validation person has images to find: raise "
            "data.validation_share "
            "so that there are people to choose by"
        )
    chosen = max(names, key=lambda name: scores[name])
    with atomic_directory(SELECTED) as temporary:
        for path in sorted((MODELS / chosen).iterdir()):
            shutil.copy2(path, temporary / path.name)
    write_json(SELECTION, {"chosen": chosen, key: scores})
    say(challenge(params, facts[chosen], chosen, key))
    say(
        f"chosen: {chosen} ({', '.join(f'{name} {score:.3f}' for name, score in scores.items())} {key} "
        "on validation people)"
    )


if __name__ == "__main__":
    run_stage(main)
