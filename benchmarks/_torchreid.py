"""torchreid's own ImageTripletEngine on our network and files, for benchmarks that need it as a peer."""

import contextlib
import io
import time
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from training_step import PeerModel

from reid.config import TrainParams
from reid.models.embedder import ModelSpec
from reid.models.inference import embed_images
from reid.training.loop import TrainingData
from reid.training.schedule import SCHEDULES

__all__ = ["train_and_embed"]


def train_and_embed(
    spec: ModelSpec, data: TrainingData, images: npt.NDArray[np.uint8], seconds: float, seed: int, settings: TrainParams
) -> npt.NDArray[np.float32]:
    """Train for so many seconds with torchreid's loader, sampler, losses and engine, then embed ``images``.

    Initial weights, batch size, augmentations' kinds, Adam's learning rate and its schedule (by epoch) are ours.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchreid
    cameras = np.unique(data.cameras, return_inverse=True)[1]
    rows = [(str(path), int(label), int(camera)) for path, label, camera in zip(data.paths, data.labels, cameras, strict=True)]

    class Crops(torchreid.data.ImageDataset):
        def __init__(self, root: str = "", **kwargs: Any) -> None:
            # torchreid wants a query and a gallery that differ in camera; it tests nothing here.
            super().__init__(rows, rows[:1], rows[-1:], **kwargs)

    torch.manual_seed(seed)
    torch.set_num_threads(settings.threads)
    name = f"crops{seed}"
    with contextlib.redirect_stdout(io.StringIO()):
        torchreid.data.register_image_dataset(name, Crops)
        manager = torchreid.data.ImageDataManager(
            sources=name,
            height=spec.height,
            width=spec.width,
            transforms=["random_flip", "random_crop", "color_jitter", "random_erase"],
            use_gpu=False,
            batch_size_train=settings.identities * settings.images,
            workers=2,
            num_instances=settings.images,
            train_sampler="RandomIdentitySampler",
        )
    model = PeerModel(spec, manager.num_train_pids)
    optimizer = torchreid.optim.build_optimizer(model, optim="adam", lr=settings.learning_rate)
    engine = torchreid.engine.ImageTripletEngine(manager, model, optimizer, use_gpu=False)
    engine.train_loader, engine.epoch, engine.max_epoch, engine.writer = manager.train_loader, 0, 1, None
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * SCHEDULES[settings.schedule](elapsed / seconds, settings.warmup_share).factor
        with contextlib.redirect_stdout(io.StringIO()):
            engine.train(print_freq=10**6)
    return embed_images(model.embedder.eval(), images)
