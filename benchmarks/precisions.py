"""What each precision costs: a network trained for some minutes, exported, and held against itself on people
never trained on.

Without ``--train`` people are rendered. ``--keep`` names a folder for the trained networks: a later run takes
those it finds there.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _measure import abilities, arguments, report
from accuracy_real import Task, Training, read_task

from reid.config import load_params, with_values
from reid.data.synthetic import TownSpec, generate_town
from reid.export import Limits, People, export_model
from reid.models.embedder import save_model
from reid.training.trial import model_spec

NETWORKS = "mobilenet_v2,osnet_x0_25,osnet_x1_0,resnet50"
TOWN = {"people": 500, "cameras": 2, "images_per_camera": 6, "footage_people": 1, "footage_seconds": 8.0}
TOWN_PATTERN = r"(?P<identity>\d{4})_c(?P<camera>\d+)_"
# No weights of the others can be had without a network. From random ones a triplet loss keeps all people in
# one point; classes do not.
FROM_NOTHING = {
    "model.weights": "none",
    "objectives.batch_hard.terms.batch_hard.weight": 0.0,
    "train.erasing": 0.0,
}
RATES = {"resnet50": 0.0005}  # with what the others learn by, it does not get under way
# Nothing is to be left out of the table; the limits that the chain holds files against are in params.yaml.
NO_LIMITS = Limits({"fp32": -1.0, "fp16": -1.0, "int8": 0.5}, int8_lowest=-1.0, map_fall=1.0)


def trained(name: str, task: Task, options: argparse.Namespace, folder: Path) -> Path:
    path = folder / f"{name}.safetensors"
    if not path.exists():
        start = (
            {"model.weights": "imagenet"}
            if name == "mobilenet_v2"
            else FROM_NOTHING | {"train.learning_rate": RATES.get(name, 0.002)}
        )
        params = with_values(load_params(), {"model.backbone": name, "train.steps": 10**6, **start})
        model = Training(params, "batch_hard", 60 * options.minutes, time.perf_counter).run(task, seed=0)
        save_model(model.eval(), model_spec(params), path)
    return path


def main() -> None:
    options = arguments(
        __doc__ or "",
        networks=NETWORKS,
        minutes=10.0,
        train="",
        pattern=TOWN_PATTERN,
        test_people=100,
        keep="",
        count=400,
    )
    rows, results = [], {}
    with TemporaryDirectory() as temporary:
        root = Path(options.train or temporary) / ("" if options.train else "crops")
        if not options.train:
            generate_town(TownSpec(**TOWN), Path(temporary), [1])  # type: ignore[arg-type]
        params = load_params()
        task = read_task(
            root, root, options.pattern, options.test_people, 0, params.model.height, params.model.width
        )
        folder = Path(options.keep or temporary)
        chosen = np.linspace(0, len(task.data.labels) - 1, 128).astype(int)
        calibration = np.stack([np.asarray(task.data.images[row]) for row in chosen])
        for name in options.networks.split(","):
            written = export_model(
                trained(name, task, options, folder),
                Path(temporary) / name,
                crops=task.images[: options.count],
                people=People(task.images, task.identities, task.cameras),
                calibration=calibration,
                precisions=("fp32", "fp16", "int8"),
                limits=NO_LIMITS,
                provenance={"name": name},
            )
            results[name] = written | {"engines": {}}
            for precision, file in written["files"].items():
                for runtime, row in file["runtimes"].items():
                    fall = 100 * (written["trained"]["mean_ap"] - row["mean_ap"])
                    share = "" if file["float32_share"] is None else f"{100 * file['float32_share']:.1f} %"
                    figures = (
                        f"{row['mean']:.4f}",
                        f"{row['lowest']:.4f}",
                        f"{written['trained']['mean_ap']:.3f}",
                        f"{fall:+.2f}",
                        share,
                    )
                    rows.append((name, precision, runtime, *figures))
    columns = (
        "network",
        "precision",
        "runtime",
        "mean cosine",
        "lowest",
        "mAP trained",
        "mAP falls by points",
        "in float32",
    )
    report(
        f"Precisions on people never trained on; processor: {abilities()}",
        columns,
        rows,
        {"networks": results},
        options.json,
    )


if __name__ == "__main__":
    main()
