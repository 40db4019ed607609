"""Accuracy on real people never trained on: each objective for the same minutes, beside torchreid's own
triplet engine.

``--train`` and ``--test`` are folders of images, or ``cuhk03`` and ``pku`` for those of the shared data; the
same folder twice keeps ``--test-people`` of its people for the test, drawn by seed, and two folders are the
test across sets: trained here, judged there.

By the protocol ``both_directions`` of a set of two cameras every figure is the mean of both: one camera's
images ask, all images of the other answer. By ``market``, Market-1501's, every image asks all others, without
those of its own person and camera.

``--ladder yes`` and ``--augmentations yes``, or those of their changes that are named, separated by commas,
train the objective ``--base`` with one part of the recipe changed at a time, for the same minutes; the last
column is what that brings. ``--minutes 0`` trains for the steps of the parameters instead.

Minutes are the wall clock's; by ``--clock processor`` they are those that the process itself has had of one
core (one thread, torchreid's loader in the same process), so that other work on the machine takes nothing
from a candidate.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import _torchreid
import cv2
import numpy as np
import numpy.typing as npt
import torch
import yaml
from _ladder import AUGMENTATIONS, LADDER, Changes, Extras, effective, wanted, with_change
from _measure import SHARED, abilities, arguments, report
from _people import each_camera_asks, instance_norm, mix_styles

from reid.config import UNTRAINED, Params, load_params, settings_of, with_values
from reid.data.catalog import Record
from reid.data.datasets.folder import read_folder
from reid.data.store import load_images
from reid.errors import ReidError, UsageError
from reid.evaluation import rank_gallery
from reid.models.embedder import EmbeddingModel, build_model
from reid.models.inference import embed_images
from reid.training.batches import TrainingData
from reid.training.loop import train
from reid.training.trial import loss_and_batches, model_spec

FIGURES = ("rank1", "rank5", "mean_ap", "mean_inp")

THEIRS = "torchreid_triplet"
AS_THEY_ARE = Extras()
SETS = {"cuhk03": SHARED / "data/cuhk03_np/bounding_box_train", "pku": SHARED / "data/pku_reid/dev"}


@dataclass(frozen=True)
class Task:
    """Training images with labels 0..C-1, and test images of other people."""

    data: TrainingData
    images: npt.NDArray[np.uint8]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]


_EXAMPLE = "take a mapping of dotted keys, such as '{train.learning_rate: 0.001}'"

Candidate = Callable[[Task, int], npt.NDArray[np.float32]]


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


def score(embeddings: npt.NDArray[np.float32], task: Task, protocol: str) -> dict[str, float]:
    """The figures by name.

    Raises:
        UsageError: the protocol wants two cameras, and there are others.
    """
    everyone = (embeddings, task.identities, task.cameras)
    ways = [(everyone, everyone)] if protocol == "market" else list(each_camera_asks(*everyone))
    if len(ways) != 2 and protocol != "market":
        raise UsageError(
            f"the test has {len(ways)} cameras by this pattern: two are needed, each to ask the other, or "
            "--protocol market"
        )
    sums = dict.fromkeys(FIGURES, 0.0)
    for query, gallery in ways:
        ranking = rank_gallery(*query, *gallery)
        figures = (ranking.cmc[0], ranking.cmc[4], ranking.mean_ap, ranking.mean_inp)
        for name, value in zip(FIGURES, figures, strict=True):
            sums[name] += float(value) / len(ways)
    return sums


@dataclass(frozen=True)
class Training:
    """How an objective is trained."""

    params: Params
    name: str
    seconds: float
    clock: Callable[[], float]
    extras: Extras

    def run(self, task: Task, seed: int) -> EmbeddingModel:
        """The objective after so many seconds; what it starts from counts as its time."""
        begin = self.params.objectives[self.name].start
        if begin == UNTRAINED:
            return self._train(task, seed, self.seconds)
        first = replace(self, name=begin, seconds=2 * self.seconds / 3)
        return self._train(task, seed, self.seconds / 3, first.run(task, seed))

    def _train(
        self, task: Task, seed: int, seconds: float, start: EmbeddingModel | None = None
    ) -> EmbeddingModel:
        settings = settings_of(self.params, self.name).model_copy(update={"max_seconds": seconds or None})
        torch.set_num_threads(settings.threads)
        torch.manual_seed(seed)
        model = start or build_model(model_spec(self.params))
        if start is None:  # hooks and layers stay with the model
            instance_norm(model, self.extras.instance_norm)
            if self.extras.mix_styles:
                mix_styles(model, self.extras.mix_styles)
        people = int(task.data.labels.max()) + 1
        objective, plan = loss_and_batches(self.params, self.name, people, model.dim)
        return train(model, objective, task.data, settings, seed=seed, plan=plan, clock=self.clock)[0]


def embedded(
    model: EmbeddingModel, images: npt.NDArray[np.uint8], scales: tuple[float, ...]
) -> npt.NDArray[np.float32]:
    """The mean of the embeddings at all scales, L2-normalised."""
    sums = np.zeros((len(images), model.dim), np.float32)
    for scale in scales:
        height, width = (round(scale * side) for side in images.shape[1:3])
        sums += embed_images(model, np.stack([cv2.resize(image, (width, height)) for image in images]))
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def gain(row: Row, base: Row | None) -> str:
    """How much mAP a row has more than the recipe as it is, of the same seeds, and the spread over these."""
    if base is None or row is base or len(row.runs) != len(base.runs):
        return ""
    gaps = [one["mean_ap"] - other["mean_ap"] for one, other in zip(row.runs, base.runs, strict=True)]
    spread = f" ± {statistics.stdev(gaps):.3f}" if len(gaps) > 1 else ""
    return f"{statistics.mean(gaps):+.3f}{spread}"


def candidates_of(
    params: Params,
    names: list[str],
    changes: Changes,
    base: str,
    seconds: float,
    clock: Callable[[], float],
) -> dict[str, tuple[Params, Candidate]]:
    """By name, the parameters in force, and what embeds the test images after a training."""

    def ours(own: Params, name: str, extras: Extras = AS_THEY_ARE) -> Candidate:
        training = Training(own, name, seconds, clock, extras)
        return lambda task, seed: embedded(training.run(task, seed), task.images, extras.scales)

    def theirs(task: Task, seed: int) -> npt.NDArray[np.float32]:
        return _torchreid.train_and_embed(
            model_spec(params), task.data, task.images, seconds, seed, params.train, clock
        )

    found = {name: (params, theirs if name == THEIRS else ours(params, name)) for name in names}
    for step, change in changes.items():
        changed, extras = with_change(params, base, change)
        if effective(changed, base) == effective(params, base) and extras == AS_THEY_ARE:
            print(f"note: {step}: the parameters are so already, its row is the base once more")
        if extras.of_mobilenet and changed.model.backbone != "mobilenet_v2":  # known now, and not after hours
            raise UsageError(f"change {step!r} is of mobilenet_v2 alone: name the changes to run")
        found[step] = changed, ours(changed, base, extras)
    return found


def overridden(params: Params, text: str) -> Params:
    """The parameters with those of a YAML mapping of dotted keys.

    Raises:
        UsageError: it is none, or a key or a value is wrong.
    """
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"--override is no YAML ({' '.join(str(error).split())}): {_EXAMPLE}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f"--override is {text!r}: {_EXAMPLE}")
    return with_values(params, values)


def main() -> None:
    options = arguments(
        __doc__ or "",
        train="",
        test="",
        pattern=r"^(?P<identity>\d+)_c(?P<camera>\d)",
        protocol="both_directions",
        minutes=10.0,
        seeds=3,
        test_people=15,
        params="params.yaml",
        objectives="",
        base="batch_hard",
        clock="wall",
        ladder="no",
        augmentations="no",
        override="",
    )
    if not options.train or not options.test:
        raise UsageError(
            "--train and --test are missing: name the folders of images, the same one twice to split "
            "its people"
        )
    if options.protocol not in ("both_directions", "market"):
        raise UsageError(f"--protocol is {options.protocol!r}: take both_directions or market")
    if options.clock not in ("wall", "processor"):
        raise UsageError(f"--clock is {options.clock!r}: take wall or processor")
    if options.seeds < 1:
        raise UsageError(f"--seeds is {options.seeds}: take at least 1")
    if not 0 <= options.minutes < math.inf:
        raise UsageError(f"--minutes is {options.minutes:g}: take a finite number, at least 0")
    params = overridden(load_params(options.params), options.override)
    if options.base not in params.objectives:
        raise UsageError(
            f"--base: {options.base!r} is not in {options.params}: take of {', '.join(params.objectives)}"
        )
    clock = time.perf_counter
    if options.clock == "processor":
        clock = time.process_time
        params = with_values(params, {"train.threads": 1})
    changes = wanted(options.ladder, LADDER) | wanted(options.augmentations, AUGMENTATIONS)
    known = (*params.objectives, THEIRS)
    names = options.objectives.split(",") if options.objectives else [*known]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--objectives: {unknown[0]!r} is unknown: take of {', '.join(known)}")
    candidates = candidates_of(params, names, changes, options.base, 60 * options.minutes, clock)
    folders = [SETS.get(folder, Path(folder)) for folder in (options.train, options.test)]
    rows = {name: Row() for name in ("untrained", *candidates)}
    for seed in range(options.seeds):
        tasks: dict[tuple[int, int], Task] = {}  # by the images' size

        def task_of(own: Params, seed: int = seed, tasks: dict[tuple[int, int], Task] = tasks) -> Task:
            size = own.model.height, own.model.width
            if size not in tasks:
                tasks[size] = read_task(*folders, options.pattern, options.test_people, seed, *size)
            return tasks[size]

        untrained = embed_images(build_model(model_spec(params)).eval(), task_of(params).images)
        rows["untrained"].runs.append(score(untrained, task_of(params), options.protocol))
        for name, (own, run) in candidates.items():
            task = task_of(own)
            started = time.perf_counter()
            figures = score(run(task, seed), task, options.protocol)
            rows[name].runs.append(figures | {"seconds": time.perf_counter() - started})
            last = rows[name].runs[-1]
            print(
                (
                    f"seed {seed}  {name}: rank-1 {last['rank1']:.3f}  mAP {last['mean_ap']:.3f}  "
                    f"({last['seconds']:.0f} s)"
                ),
                flush=True,
            )
    base = rows.get(options.base)
    length = (
        f"{options.minutes:g} minutes ({options.clock})" if options.minutes else f"{params.train.steps} steps"
    )
    report(
        f"People never trained on, {length} each, {options.seeds} seeds ({abilities()})",
        ("objective", "rank-1", "rank-5", "mAP", "mINP", f"mAP to {options.base}'s"),
        [(name, *(row.shown(f) for f in FIGURES), gain(row, base)) for name, row in rows.items()],
        {
            "objectives": {name: {f: row.mean(f) for f in FIGURES} for name, row in rows.items()},
            "spread": {name: {f: row.spread(f) for f in FIGURES} for name, row in rows.items()},
            "runs": {name: row.runs for name, row in rows.items()},
            "minutes": options.minutes,
            "seeds": options.seeds,
            "protocol": options.protocol,
            "processor": abilities(),
        },
        options.json,
    )


if __name__ == "__main__":
    try:
        main()
    except ReidError as error:
        raise SystemExit(f"accuracy_real.py: {error}") from None
