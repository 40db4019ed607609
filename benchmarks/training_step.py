"""The whole training step: images per second here against torchreid's ImageDataManager and ImageTripletEngine.

Both sides train the same network (MobileNetV2, 1280-d, BN-neck, classifier) on the same image files at the same size with the same
batches (P x K), augmentations (flip, shift, colour, erasing), losses (batch-hard triplet and smoothed softmax) and number of threads. A
step is all of it: reading, augmenting, forward, losses, backward, optimiser; here also gradient clipping, the averaged weights and the
sums of what is logged. Decoding into the store happens once, before; its time is printed beside. Each side has a process of its own,
as it would have at work, so that our allocator settings do not help the peer; they take turns.
"""

import contextlib
import io
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import arguments, report
from torch import nn

from reid.config import TrainParams
from reid.data.catalog import Record
from reid.data.datasets import read_folder
from reid.data.store import load_images
from reid.errors import UsageError
from reid.models.embedder import ModelSpec, build_model
from reid.training.loop import TrainingData, train
from reid.training.memory import keep_freed_memory
from reid.training.objective import build_objective

SKIPPED = 4  # first steps of each round: worker processes start, memory is touched for the first time


class PeerModel(nn.Module):
    """The same network as torchreid wants it: class scores and features while training."""

    def __init__(self, spec: ModelSpec, classes: int) -> None:
        super().__init__()
        self.embedder = build_model(spec)
        self.classifier = nn.Linear(self.embedder.dim, classes, bias=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.embedder(images)
        return self.classifier(self.embedder.neck(features)), features


def rendered(folder: Path, people: int) -> Path:
    """Crops of the synthetic town, where no folder is given."""
    from reid.data.synthetic import TownSpec, generate_town

    spec = TownSpec(
        people=people, cameras=2, images_per_camera=8, footage_people=1, footage_seconds=6.0, footage_width=160, footage_height=120
    )
    generate_town(spec, folder, [1])
    return folder / "crops"


def images_per_second(moments: Sequence[float], batch: int) -> float:
    kept = moments[SKIPPED:]
    return batch * (len(kept) - 1) / (kept[-1] - kept[0])


class Side:
    """One candidate in a process of its own; each ``measure`` trains a round there and returns its images per second."""

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
    # A spawned process would spawn its own; a script's data loader forks, and torchreid's data sets cannot be sent to a spawned one.
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
    data = TrainingData(images, labels, cameras, [record.path for record in records], images[:0], nobody, nobody)
    model = build_model(spec)
    objective = build_objective(
        "batch_hard",
        num_classes=int(labels.max()) + 1,
        embedding_dim=model.dim,
        triplet_weight=1.0,
        softmax_weight=1.0,
        center_weight=0.0,
        label_smoothing=0.1,
        options={"soft_margin": True},
    )

    def run() -> float:
        moments: list[float] = []
        train(model, objective, data, settings, seed=0, on_step=lambda step, steps: moments.append(time.perf_counter()))
        return images_per_second(moments, settings.identities * settings.images)

    return run


def torchreid_round(records: Sequence[Record], spec: ModelSpec, settings: TrainParams, workers: int) -> Callable[[], float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchreid

    identities = {name: label for label, name in enumerate(sorted({record.identity for record in records}))}
    cameras = {name: label for label, name in enumerate(sorted({record.camera for record in records}))}
    rows = [(str(record.path), identities[record.identity], cameras[record.camera]) for record in records]

    class Crops(torchreid.data.ImageDataset):
        def __init__(self, root: str = "", **kwargs: Any) -> None:
            # torchreid wants a query and a gallery that differ in camera; nothing is tested here.
            super().__init__(rows, rows[:1], rows[-1:], **kwargs)

    batch = settings.identities * settings.images
    with contextlib.redirect_stdout(io.StringIO()):
        torchreid.data.register_image_dataset("crops", Crops)
        manager = torchreid.data.ImageDataManager(
            sources="crops",
            height=spec.height,
            width=spec.width,
            transforms=["random_flip", "random_crop", "color_jitter", "random_erase"],
            use_gpu=False,
            batch_size_train=batch,
            workers=workers,
            num_instances=settings.images,
            train_sampler="RandomIdentitySampler",
        )
    model = PeerModel(spec, manager.num_train_pids)
    optimizer = torchreid.optim.build_optimizer(model, optim="adam", lr=settings.learning_rate)
    moments: list[float] = []

    class Engine(torchreid.engine.ImageTripletEngine):
        def forward_backward(self, data: Any) -> Any:
            summary = super().forward_backward(data)
            moments.append(time.perf_counter())
            return summary

    engine = Engine(manager, model, optimizer, scheduler=torchreid.optim.build_lr_scheduler(optimizer), use_gpu=False)
    engine.train_loader, engine.epoch, engine.max_epoch, engine.writer = manager.train_loader, 0, 1, None

    def run() -> float:
        moments.clear()
        with contextlib.redirect_stdout(io.StringIO()):
            engine.train(print_freq=10**6)
        return images_per_second(moments, batch)

    return run


def settings_for(steps: int, threads: int) -> TrainParams:
    return TrainParams(
        steps=steps,
        epoch_steps=steps,
        max_seconds=None,
        learning_rate=3.5e-4,
        weight_decay=5e-4,
        warmup_share=0.1,
        identities=8,
        images=4,
        camera_aware=True,
        flip=True,
        pad_crop=8,
        erasing=0.5,
        colour_jitter=0.2,
        gradient_clip=5.0,
        ema=0.99,
        schedule="cosine",
        freeze_steps=0,
        precision="float32",
        channels_last=True,
        workers=1,
        threads=threads,
    )


def main() -> None:
    chosen = arguments(__doc__ or "", images="", pattern=r"^(?P<identity>\d+)_c(?P<camera>\d+)_", rounds=5, threads=2, workers=4, people=50)
    # As in torchreid's own MobileNetV2: the last stage halves the map.
    spec = ModelSpec("mobilenet_v2", "imagenet", 128, 64, neck_feature="before_bn", last_stride=2)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(chosen.images) if chosen.images else rendered(Path(temporary), chosen.people)
        records = read_folder(folder, chosen.pattern)
        settings = settings_for(len(records) // 32, chosen.threads)
        if settings.steps < 3 * SKIPPED:
            raise UsageError(f"{folder} has {len(records)} images: {96 * SKIPPED} or more are needed to time a round")
        started = time.perf_counter()
        load_images([record.path for record in records], spec.height, spec.width)
        decoding = time.perf_counter() - started
        sides = {
            "reid": Side(our_round, (records, spec, settings)),
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
    ratio = statistics.median(ours / peer for ours, peer in zip(speeds["reid"], speeds["torchreid"], strict=True))
    rows = [[name, statistics.median(values), min(values), max(values)] for name, values in speeds.items()]
    title = f"MobileNetV2 at 128x64, {chosen.threads} threads, batches of 32, {len(records)} images: {ratio:.2f} times as fast"
    result = {
        "ratios": {"images_per_second_vs_torchreid": ratio},
        "images_per_second": speeds,
        "decode_once_s": decoding,
        "settings": {key: getattr(chosen, key) for key in ("rounds", "threads", "workers")},
    }
    report(title, ["training step", "images/s", "lowest", "highest"], rows, result, chosen.json)


if __name__ == "__main__":
    main()
