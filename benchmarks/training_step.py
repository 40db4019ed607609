"""The whole training step: images per second here against torchreid's ImageDataManager and
ImageTripletEngine.

Both sides train the same network (MobileNetV2, 1280-d, BN-neck, classifier) on the same image files at the
same size with the same batches (P x K), augmentations (flip, shift, colour, erasing), losses (batch-hard
triplet and smoothed softmax) and number of threads. A step is all of it: reading, augmenting, forward,
losses, backward, optimiser; here also gradient clipping, the averaged weights and the sums of what is logged.
Decoding into the store happens once, before; its time is printed beside. Each side has a process of its own,
as it would have at work, so that our allocator settings do not help the peer; they take turns. Ours trains as
params.yaml says, where ``precision: auto`` means bfloat16 on a processor that calculates in it, and once more
in float32; the peer knows float32 alone.
"""

import contextlib
import io
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import arguments, report
from _torchreid import image_manager, import_torchreid, triplet_engine

from reid.config import TermParams, TrainParams, load_params
from reid.data.catalog import Record
from reid.data.datasets import read_folder
from reid.data.store import load_images
from reid.errors import UsageError
from reid.memory import keep_freed_memory
from reid.models.embedder import ModelSpec, build_model
from reid.training.batches import TrainingData
from reid.training.loop import train
from reid.training.objective import build_objective

SKIPPED = 4  # first steps of each round: worker processes start, memory is touched for the first time


def rendered(folder: Path, people: int) -> Path:
    """Crops of the synthetic town, where no folder is given."""
    from reid.data.synthetic import TownSpec, generate_town

    spec = TownSpec(
        people=people,
        cameras=2,
        images_per_camera=8,
        footage_people=1,
        footage_seconds=6.0,
        footage_width=160,
        footage_height=120,
    )
    generate_town(spec, folder, [1])
    return folder / "crops"


def images_per_second(moments: Sequence[float], batch: int) -> float:
    kept = moments[SKIPPED:]
    return batch * (len(kept) - 1) / (kept[-1] - kept[0])


class Side:
    """One candidate in a process of its own; each ``measure`` trains a round there and returns its images per
    second.
    """

    def __init__(self, build: Callable[..., Callable[[], float]], inputs: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve_rounds, args=(theirs, build, inputs))
        self.process.start()

    def measure(self) -> float:
        self.pipe.send(True)
        return float(self.pipe.recv())

    def close(self) -> None:
        self.pipe.send(False)
        self.process.join()


def serve_rounds(pipe: Any, build: Callable[..., Callable[[], float]], inputs: tuple[Any, ...]) -> None:
    # A spawned process would spawn its own; a script's data loader forks, and torchreid's data sets cannot be
    # sent to a spawned one.
    multiprocessing.set_start_method("fork", force=True)
    settings = inputs[2]
    torch.set_num_threads(settings.threads)
    run = build(*inputs)
    while pipe.recv():
        pipe.send(run())


def our_round(records: Sequence[Record], spec: ModelSpec, settings: TrainParams) -> Callable[[], float]:
    keep_freed_memory()
    images = load_images([record.path for record in records], spec.height, spec.width)
    labels = np.unique([record.identity for record in records], return_inverse=True)[1].astype(np.int64)
    cameras = np.array([record.camera for record in records])
    nobody = np.empty(0, np.str_)
    data = TrainingData(
        images, labels, cameras, [record.path for record in records], images[:0], nobody, nobody
    )
    model = build_model(spec)
    objective = build_objective(
        {
            "batch_hard": TermParams(options={"soft_margin": True}),
            "softmax": TermParams(options={"label_smoothing": 0.1}),
        },
        num_classes=int(labels.max()) + 1,
        embedding_dim=model.dim,
    )

    def run() -> float:
        moments: list[float] = []
        train(
            model,
            objective,
            data,
            settings,
            seed=0,
            on_step=lambda step, steps: moments.append(time.perf_counter()),
        )
        return images_per_second(moments, settings.identities * settings.images)

    return run


def torchreid_round(
    records: Sequence[Record], spec: ModelSpec, settings: TrainParams, workers: int
) -> Callable[[], float]:
    paths, identities, cameras = zip(
        *((record.path, record.identity, record.camera) for record in records), strict=True
    )
    manager = image_manager("crops", paths, identities, cameras, spec, settings, workers)
    moments: list[float] = []

    class Engine(import_torchreid().engine.ImageTripletEngine):  # type: ignore[misc]
        def forward_backward(self, data: Any) -> Any:
            summary = super().forward_backward(data)
            moments.append(time.perf_counter())
            return summary

    engine = triplet_engine(manager, spec, settings.learning_rate, Engine)

    def run() -> float:
        moments.clear()
        with contextlib.redirect_stdout(io.StringIO()):
            engine.train(print_freq=10**6)
        return images_per_second(moments, settings.identities * settings.images)

    return run


def settings_for(steps: int, threads: int) -> TrainParams:
    """The recipe of params.yaml for so many steps, with batches and rate of the field's usual triplet
    training.
    """
    own = {
        "steps": steps,
        "epoch_steps": steps,
        "max_seconds": None,
        "identities": 8,
        "images": 4,
        "threads": threads,
    }
    own |= {"learning_rate": 3.5e-4, "warmup_share": 0.1}
    return load_params(Path(__file__).parents[1] / "params.yaml").train.model_copy(update=own)


def main() -> None:
    chosen = arguments(
        __doc__ or "",
        images="",
        pattern=r"^(?P<identity>\d+)_c(?P<camera>\d+)_",
        rounds=5,
        threads=2,
        workers=4,
        people=50,
    )
    # As in torchreid's own MobileNetV2: the last stage halves the map.
    spec = ModelSpec("mobilenet_v2", "imagenet", 128, 64, neck_feature="before_bn", last_stride=2)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(chosen.images) if chosen.images else rendered(Path(temporary), chosen.people)
        records = read_folder(folder, chosen.pattern)
        settings = settings_for(len(records) // 32, chosen.threads)
        if settings.steps < 3 * SKIPPED:
            raise UsageError(
                f"{folder} has {len(records)} images: {96 * SKIPPED} or more are needed to time a round"
            )
        started = time.perf_counter()
        load_images([record.path for record in records], spec.height, spec.width)
        decoding = time.perf_counter() - started
        exact = settings.model_copy(update={"precision": "float32"})
        sides = {
            "reid": Side(our_round, (records, spec, settings)),
            "reid in float32": Side(our_round, (records, spec, exact)),
            "torchreid": Side(torchreid_round, (records, spec, settings, chosen.workers)),
        }
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(chosen.rounds + 1):  # one round to warm up
            for name in sorted(sides, reverse=bool(number % 2)):
                speed = sides[name].measure()
                if number:
                    speeds[name].append(speed)
        for side in sides.values():
            side.close()

    def ratio(name: str) -> float:
        return statistics.median(
            ours / peer for ours, peer in zip(speeds[name], speeds["torchreid"], strict=True)
        )

    rows = [[name, statistics.median(values), min(values), max(values)] for name, values in speeds.items()]
    title = (
        f"MobileNetV2 at 128x64, {chosen.threads} threads, batches of 32, {len(records)} images: "
        f"{ratio('reid'):.2f} times as fast"
    )
    result = {
        "ratios": {
            "images_per_second_vs_torchreid": ratio("reid"),
            "images_per_second_in_float32_vs_torchreid": ratio("reid in float32"),
        },
        "images_per_second": speeds,
        "decode_once_s": decoding,
        "settings": {key: getattr(chosen, key) for key in ("rounds", "threads", "workers")},
    }
    report(title, ["training step", "images/s", "lowest", "highest"], rows, result, chosen.json)


if __name__ == "__main__":
    main()
