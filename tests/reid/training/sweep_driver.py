"""A sweep in a process of its own, for a test that kills it: python -m tests.reid.training.sweep_driver
PARAMS CATALOG RESULT.
"""

import json
import sys
from pathlib import Path

from reid.config import parse_params
from reid.training.ray_trial import RUN_FILE
from reid.training.sweep import best_trial, sweep_folder
from reid.training.tracking import Tracker


def main(params_file: str, catalog: str, result: str) -> None:
    params = parse_params(json.loads(Path(params_file).read_text()))
    tracker = Tracker.of(params.tracking)
    run_file = sweep_folder(params, "batch_hard", Path(catalog), None) / RUN_FILE
    if not run_file.exists():
        run_file.parent.mkdir(parents=True, exist_ok=True)
        run_file.write_text(tracker.start("batch_hard", {}, {}))

    def note(trial: str, figures: dict[str, object]) -> None:
        sys.stdout.write(json.dumps({"trial": trial, "epoch": figures["epoch"]}) + "\n")
        sys.stdout.flush()

    best = best_trial(
        params, "batch_hard", Path(catalog), start=None, parent=run_file.read_text(), on_result=note
    )
    value = {
        "folder": str(best.folder),
        "failures": dict(best.failures),
        "parent": run_file.read_text(),
        "figures": best.figures["val_mean_ap"],
    }
    Path(result).write_text(json.dumps(value))


if __name__ == "__main__":
    main(*sys.argv[1:])
