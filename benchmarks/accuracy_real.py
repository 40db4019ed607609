"""Accuracy on real people never trained on: each objective for the same minutes, beside torchreid's own
triplet engine.

``--train`` and ``--test`` are folders of images; the same folder twice keeps ``--test-people`` of its people
for the test, drawn by seed. Every figure is the mean of both camera directions: one camera's images ask, all
images of the other camera answer.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import _torchreid
import numpy as np
import numpy.typing as npt
import torch
import yaml
from _measure import arguments, report

from reid.config import UNTRAINED, Params, load_params, settings_of, with_values
from reid.data.catalog import Record
from reid.data.datasets.folder import read_folder
from reid.data.store import load_images
from reid.errors import UsageError
from reid.evaluation import rank_gallery
from reid.models.embedder import EmbeddingModel, build_model
from reid.models.inference import embed_images
from reid.training.batches import TrainingData
from reid.training.loop import train
from reid.training.trial import loss_and_batches, model_spec

FIGURES = ("rank1", "rank5", "mean_ap", "mean_inp")

# What is left out of the recipe or added to it, one at a time: how far the figures change is what the part is
# worth.
LADDER: dict[str, dict[str, object]] = {
    "without random erasing": {"train.erasing": 0.0},
    "without colour jitter": {"train.colour_jitter": 0.0},
    "without shifts": {"train.pad_crop": 0},
    "without flips": {"train.flip": False},
    "without averaged weights": {"train.ema": 0.0},
    "without warm-up": {"train.warmup_share": 0.0},
    "without label smoothing": {"objectives.batch_hard.terms.softmax.options.label_smoothing": 0.0},
    "without classification": {"objectives.batch_hard.terms.softmax.weight": 0.0},
    "without camera-aware batches": {"train.camera_aware": False},
    "without the BN-neck": {"model.neck_feature": "before_bn"},
    "last stride 2": {"model.last_stride": 2},
    "without gradient clipping": {"train.gradient_clip": 0.0},
    "generalised-mean pooling": {"model.pooling": "gem"},
    "one cycle": {"train.schedule": "one_cycle"},
    "backbone frozen for the first 50 steps": {"train.freeze_steps": 50},
    "mirror images averaged": {"model.flip": True},
}


@dataclass(frozen=True)
class Task:
    """Training images with labels 0..C-1, and test images of other people."""

    data: TrainingData
    images: npt.NDArray[np.uint8]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]


@dataclass
class Row:
    """The figures of one candidate, one entry a seed."""

    runs: list[dict[str, float]] = field(default_factory=list)

    def mean(self, figure: str) -> float:
        return statistics.mean(run[figure] for run in self.runs)

    def shown(self, figure: str) -> str:
        return f"{self.mean(figure):.3f}" + (f" ± {self.spread(figure):.3f}" if len(self.runs) > 1 else "")

    def spread(self, figure: str) -> float:
        return statistics.stdev(run[figure] for run in self.runs) if len(self.runs) > 1 else 0.0


def read_task(
    train_root: Path, test_root: Path, pattern: str, test_people: int, seed: int, height: int, width: int
) -> Task:
    training, testing = read_folder(train_root, pattern), read_folder(test_root, pattern)
    if train_root.resolve() == test_root.resolve():
        people = sorted({record.identity for record in training})
        if not 0 < test_people < len(people) - 1:
            raise UsageError(
                f"--test-people is {test_people} of {len(people)} people: keep at least 2 for training "
                "and 1 for the test"
            )
        held_out = set(np.random.default_rng(seed).permutation(people)[:test_people])
        training, testing = (
            [r for r in training if r.identity not in held_out],
            [r for r in testing if r.identity in held_out],
        )
    elif shared := {record.identity for record in training} & {record.identity for record in testing}:
        print(
            f"note: {len(shared)} identities have the same name in both folders; they are taken for "
            "different people"
        )
    cameras = {record.camera for record in testing}
    if len(cameras) != 2:
        raise UsageError(
            f"{test_root} has {len(cameras)} cameras by this pattern: two are needed, each to ask the other"
        )
    names = sorted({record.identity for record in training})
    labels = np.array([names.index(record.identity) for record in training], np.int64)
    paths = [record.path for record in training]
    nothing = np.empty((0, height, width, 3), np.uint8), np.empty(0, np.str_), np.empty(0, np.str_)
    data = TrainingData(
        load_images(paths, height, width), labels, _column(training, "camera"), paths, *nothing
    )
    test_images = load_images([record.path for record in testing], height, width)
    return Task(data, test_images, _column(testing, "identity"), _column(testing, "camera"))


def _column(records: list[Record], name: str) -> npt.NDArray[np.str_]:
    return np.array([getattr(record, name) for record in records])


def score(embeddings: npt.NDArray[np.float32], task: Task) -> dict[str, float]:
    sums = dict.fromkeys(FIGURES, 0.0)
    for camera in np.unique(task.cameras):
        asks = task.cameras == camera
        parts = [(embeddings[rows], task.identities[rows], task.cameras[rows]) for rows in (asks, ~asks)]
        ranking = rank_gallery(*parts[0], *parts[1])
        figures = (ranking.cmc[0], ranking.cmc[4], ranking.mean_ap, ranking.mean_inp)
        for name, value in zip(FIGURES, figures, strict=True):
            sums[name] += float(value) / 2
    return sums


def train_ours(
    params: Params, name: str, task: Task, seconds: float, seed: int, start: EmbeddingModel | None = None
) -> EmbeddingModel:
    """One objective for so many seconds of training."""
    settings = settings_of(params, name).model_copy(update={"max_seconds": seconds})
    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)
    model = start or build_model(model_spec(params))
    objective, plan = loss_and_batches(params, name, int(task.data.labels.max()) + 1, model.dim)
    return train(model, objective, task.data, settings, seed=seed, plan=plan)[0]


def objective_run(params: Params, name: str, task: Task, seconds: float, seed: int) -> EmbeddingModel:
    start = params.objectives[name].start
    if start == UNTRAINED:
        return train_ours(params, name, task, seconds, seed)
    # What an objective starts from counts as its time.
    first = objective_run(params, start, task, 2 * seconds / 3, seed)
    return train_ours(params, name, task, seconds / 3, seed, first)


def main() -> None:
    options = arguments(
        __doc__ or "",
        train="",
        test="",
        pattern=r"^(?P<identity>\d+)_c(?P<camera>\d)_",
        minutes=10.0,
        seeds=3,
        test_people=15,
        params="params.yaml",
        objectives="",
        ladder="no",
        override="",
    )
    if not options.train or not options.test:
        raise UsageError(
            "--train and --test are missing: name the folders of images, the same one twice to split "
            "its people"
        )
    params = with_values(load_params(options.params), yaml.safe_load(options.override) or {})
    seconds = 60 * options.minutes
    candidates: dict[str, Callable[[Task, int], npt.NDArray[np.float32]]] = {}
    for name in (options.objectives or ",".join((*params.objectives, "torchreid_triplet"))).split(","):
        if name == "torchreid_triplet":
            candidates[name] = lambda task, seed: _torchreid.train_and_embed(
                model_spec(params), task.data, task.images, seconds, seed, params.train
            )
        else:
            candidates[name] = lambda task, seed, name=name: embed_images(
                objective_run(params, name, task, seconds, seed), task.images
            )
    if options.ladder == "yes":
        for step, change in LADDER.items():
            changed = with_values(params, change)
            candidates[step] = lambda task, seed, p=changed: embed_images(
                objective_run(p, "batch_hard", task, seconds, seed), task.images
            )
    rows = {name: Row() for name in ("untrained", *candidates)}
    for seed in range(options.seeds):
        task = read_task(
            Path(options.train),
            Path(options.test),
            options.pattern,
            options.test_people,
            seed,
            params.model.height,
            params.model.width,
        )
        rows["untrained"].runs.append(
            score(embed_images(build_model(model_spec(params)).eval(), task.images), task)
        )
        for name, run in candidates.items():
            started = time.perf_counter()
            rows[name].runs.append(score(run(task, seed), task) | {"seconds": time.perf_counter() - started})
            last = rows[name].runs[-1]
            print(
                (
                    f"seed {seed}  {name}: rank-1 {last['rank1']:.3f}  mAP {last['mean_ap']:.3f}  "
                    f"({last['seconds']:.0f} s)"
                ),
                flush=True,
            )
    report(
        f"People never trained on, {options.minutes:g} minutes each, {options.seeds} seeds",
        ("objective", "rank-1", "rank-5", "mAP", "mINP"),
        [(name, *(row.shown(f) for f in FIGURES)) for name, row in rows.items()],
        {
            "objectives": {name: {f: row.mean(f) for f in FIGURES} for name, row in rows.items()},
            "spread": {name: {f: row.spread(f) for f in FIGURES} for name, row in rows.items()},
            "runs": {name: row.runs for name, row in rows.items()},
            "minutes": options.minutes,
            "seeds": options.seeds,
        },
        options.json,
    )


if __name__ == "__main__":
    main()
