"""torchreid's own loader and ImageTripletEngine on our network and files, for benchmarks that need them as a
peer.
"""

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reid.config import TrainParams
from reid.models.embedder import ModelSpec, build_model
from reid.models.inference import embed_images
from reid.training.batches import TrainingData
from reid.training.schedule import SCHEDULES

__all__ = ["PeerModel", "image_manager", "import_torchreid", "train_and_embed", "triplet_engine"]


class PeerModel(nn.Module):
    """The same network as torchreid wants it: class scores and features while training."""

    def __init__(self, spec: ModelSpec, classes: int) -> None:
        super().__init__()
        self.embedder = build_model(spec)
        self.classifier = nn.Linear(self.embedder.dim, classes, bias=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.embedder(images)
        return self.classifier(self.embedder.neck(features)), features


def import_torchreid() -> Any:
    """The library, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchreid
    return torchreid


def image_manager(
    name: str,
    paths: Sequence[Path],
    identities: Sequence[Any],
    cameras: Sequence[Any],
    spec: ModelSpec,
    settings: TrainParams,
    workers: int,
) -> Any:
    """torchreid's ImageDataManager of some images, in batches and with augmentations like ours; a ``name`` is
    taken once in a process.
    """
    torchreid = import_torchreid()
    labels, views = (np.unique(column, return_inverse=True)[1] for column in (identities, cameras))
    rows = [
        (str(path), int(label), int(view)) for path, label, view in zip(paths, labels, views, strict=True)
    ]

    class Crops(torchreid.data.ImageDataset):
        def __init__(self, root: str = "", **kwargs: Any) -> None:
            # torchreid wants a query and a gallery that differ in camera; nothing is tested here.
            super().__init__(rows, rows[:1], rows[-1:], **kwargs)

    with contextlib.redirect_stdout(io.StringIO()):
        torchreid.data.register_image_dataset(name, Crops)
        return torchreid.data.ImageDataManager(
            sources=name,
            height=spec.height,
            width=spec.width,
            transforms=["random_flip", "random_crop", "color_jitter", "random_erase"],
            use_gpu=False,
            batch_size_train=settings.identities * settings.images,
            workers=workers,
            num_instances=settings.images,
            train_sampler="RandomIdentitySampler",
        )


def triplet_engine(manager: Any, spec: ModelSpec, learning_rate: float, engine: type | None = None) -> Any:
    """torchreid's ImageTripletEngine, or one made from it, ready for its ``train``."""
    torchreid = import_torchreid()
    model = PeerModel(spec, manager.num_train_pids)
    optimizer = torchreid.optim.build_optimizer(model, optim="adam", lr=learning_rate)
    made: Any = (engine or torchreid.engine.ImageTripletEngine)(manager, model, optimizer, use_gpu=False)
    made.train_loader = manager.train_loader
    made.epoch = 0
    made.max_epoch = 1
    made.writer = None
    return made


def train_and_embed(
    spec: ModelSpec,
    data: TrainingData,
    images: npt.NDArray[np.uint8],
    seconds: float,
    seed: int,
    settings: TrainParams,
    clock: Callable[[], float] = time.perf_counter,
) -> npt.NDArray[np.float32]:
    """Train for so many seconds with torchreid's loader, sampler, losses and engine, then embed ``images``.

    Initial weights, batch size, augmentations' kinds, Adam's learning rate and its schedule (by epoch) are
    ours. Processes of the loader are beside the trainer's by the wall clock; another clock would not see
    them, so there are none by it.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(settings.threads)
    workers = 2 if clock is time.perf_counter else 0
    manager = image_manager(f"crops{seed}", data.paths, data.labels, data.cameras, spec, settings, workers)
    engine = triplet_engine(manager, spec, settings.learning_rate)
    started = clock()
    while (elapsed := clock() - started) < seconds:
        for group in engine.optimizer.param_groups:
            group["lr"] = (
                settings.learning_rate
                * SCHEDULES[settings.schedule](elapsed / seconds, settings.warmup_share).factor
            )
        with contextlib.redirect_stdout(io.StringIO()):
            engine.train(print_freq=10**6)
    return embed_images(engine.model.embedder.eval(), images)
