"""The training loop: batches from the store, one optimiser, averaged weights, validation on people held
out.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reid.config import TrainParams
from reid.data.catalog import readable
from reid.data.sampling import HierarchicalSampler, PKSampler
from reid.data.transforms import Augmentation, augment, erase
from reid.errors import ReidError
from reid.evaluation import rank_gallery
from reid.evaluation.within_camera import seen_by_two, views
from reid.heap import pass_over_old_objects
from reid.losses import CombinedLoss
from reid.metric.class_tree import ClassTree
from reid.models.embedder import EmbeddingModel, normalise
from reid.models.inference import embed_images, extract_features
from reid.training.averaging import AveragedWeights
from reid.training.checkpoint import load_checkpoint, save_checkpoint
from reid.training.distributed import ALONE, Ranks, share_batch_statistics
from reid.training.modes import freeze, half_precision, layout, training_pass
from reid.training.objective import features_by_term
from reid.training.out_of_memory import memory_advice
from reid.training.schedule import SCHEDULES

__all__ = ["Epoch", "HierarchicalPlan", "TrainingData", "train", "validate"]


@dataclass(frozen=True)
class TrainingData:
    """Decoded images and what is known of them; the validation people are disjoint from the training
    people.
    """

    images: npt.NDArray[np.uint8]  # (N, H, W, 3) RGB
    labels: npt.NDArray[np.int64]  # (N,) 0..C-1
    cameras: npt.NDArray[np.str_]
    paths: Sequence[Path]
    val_images: npt.NDArray[np.uint8]
    val_identities: npt.NDArray[np.str_]
    val_cameras: npt.NDArray[np.str_]
    val_order: npt.NDArray[np.int64] | None = None  # rises with time; None: in time already


@dataclass(frozen=True)
class Epoch:
    """What one epoch printed: its number, the optimiser's step, and figures by name."""

    number: int
    step: int
    figures: dict[str, float]


class _Batches(Protocol):
    def set_epoch(self, epoch: int) -> None: ...

    def __iter__(self) -> Iterator[list[int]]: ...


@dataclass(frozen=True)
class HierarchicalPlan:
    """How the class tree is rebuilt each epoch and sampled: ``levels`` L and ``neighbours`` m of Ge 2018,
    section 4.
    """

    levels: int
    neighbours: int


def train(
    model: EmbeddingModel,
    objective: CombinedLoss,
    data: TrainingData,
    settings: TrainParams,
    *,
    seed: int,
    hierarchy: HierarchicalPlan | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    ranks: Ranks = ALONE,
) -> tuple[EmbeddingModel, ClassTree | None]:
    """Train ``model`` and ``objective`` in place.

    Each epoch depends only on its number, the seed and the state at its start, so a run continued from
    ``checkpoint`` ends with the very weights of an uninterrupted one (unless ``settings.max_seconds`` makes
    the clock decide).

    Args:
        model: the network.
        objective: the loss with its own parameters.
        data: training and validation images.
        settings: length, optimiser, batches, augmentation.
        seed: of sampling and augmentation.
        hierarchy: draw hierarchical batches and rebuild the class tree each epoch; None draws PK batches.
        checkpoint: written after each epoch and continued from where it exists.
        on_epoch: called after each epoch, with the validation figures of the averaged weights; a continued
            run tells the epoch of
            its checkpoint once more.
        on_step: called after each step with (step, steps).
        ranks: the place among several workers that train together; all call this with equal arguments, and
            the first writes the
            checkpoint, which the others must be able to read.

    Returns:
        The model with averaged weights, in evaluation mode, and the last class tree where there is one.

    Raises:
        ReidError: the loss is not finite (the message names the images of the batch), memory is short (it
            says which batch to try), or
            the checkpoint cannot be written (the one before is left whole).
    """
    torch.manual_seed(seed)
    if ranks.size > 1:
        share_batch_statistics(model.backbone)
    model.to(memory_format=layout(settings.channels_last))
    parameters = [*model.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(
        [p for p in parameters if p.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    forward = training_pass(model.train(), half_precision(settings.precision))
    averaged = AveragedWeights(model, settings.ema)
    states = {"model": model, "objective": objective, "averaged": averaged}
    position: dict[str, Any] = {"epoch": 0, "step": 0, "elapsed": 0.0}
    if checkpoint is not None and checkpoint.exists():
        position = load_checkpoint(checkpoint, states, optimizer)
        if on_epoch is not None:  # who was killed after writing the checkpoint has not told of its epoch
            on_epoch(Epoch(int(position["epoch"]), int(position["step"]), position["figures"]))
    tree: ClassTree | None = None
    while not _finished(position, settings):
        started = time.perf_counter()
        epoch = int(position["epoch"])
        sampler: _Batches = _pk_sampler(data, settings, seed)
        if hierarchy is not None:
            tree = ClassTree.from_embeddings(
                extract_features(model, data.images), data.labels, levels=hierarchy.levels
            )
            objective.terms["hierarchical"].set_tree(tree)  # type: ignore[operator]
            sampler = _hierarchical_sampler(tree, data, settings, hierarchy, seed)
        with memory_advice(settings.identities, settings.images), pass_over_old_objects():
            figures = _run_epoch(
                model,
                forward,
                objective,
                averaged,
                optimizer,
                sampler,
                data,
                settings,
                position,
                seed,
                on_step,
                ranks,
            )
        seconds = ranks.agree(time.perf_counter() - started)
        position = {"epoch": epoch + 1, "step": position["step"], "elapsed": position["elapsed"] + seconds}
        figures["images_per_second"] = figures.pop("images") / seconds
        figures |= validate(
            averaged.module, data.val_images, data.val_identities, data.val_cameras, data.val_order
        )
        if checkpoint is not None and ranks.is_first:
            save_checkpoint(checkpoint, states, optimizer, position | {"figures": figures})
        if on_epoch is not None:
            on_epoch(Epoch(epoch + 1, int(position["step"]), figures))
    result = averaged.module
    result.eval()
    if hierarchy is not None:
        tree = ClassTree.from_embeddings(
            extract_features(result, data.images), data.labels, levels=hierarchy.levels
        )
    return result, tree


def validate(
    model: EmbeddingModel,
    images: npt.NDArray[np.uint8],
    identities: npt.NDArray[np.str_],
    cameras: npt.NDArray[np.str_],
    order: npt.NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """Cross-camera mAP, rank-1 and mINP among people held out, every image asking all others; empty where
    nobody has a match.

    Where nobody is seen by two cameras, within the camera: see :mod:`reid.evaluation.within_camera`.

    Args:
        model: the network.
        images: (N, H, W, 3) RGB; may be a memory map.
        identities: (N,).
        cameras: (N,).
        order: (N,) numbers that rise with time; None where the images are in order.
    """
    ranked = views(identities, cameras, np.arange(len(images)) if order is None else order)
    if not seen_by_two(identities[ranked.rows], ranked.cameras):
        return {}
    everyone = (embed_images(model, images)[ranked.rows], identities[ranked.rows], ranked.cameras)
    report = rank_gallery(*everyone, *everyone)
    return {
        "val_mean_ap": float(report.mean_ap),
        "val_rank1": float(report.cmc[0]),
        "val_mean_inp": float(report.mean_inp),
    }


def _finished(position: dict[str, Any], settings: TrainParams) -> bool:
    if settings.max_seconds is not None:
        return bool(position["elapsed"] >= settings.max_seconds)
    return bool(position["step"] >= settings.steps)


def _pk_sampler(data: TrainingData, settings: TrainParams, seed: int) -> PKSampler:
    cameras = data.cameras if settings.camera_aware else None
    return PKSampler(data.labels, settings.identities, settings.images, seed=seed, cameras=cameras)


def _hierarchical_sampler(
    tree: ClassTree, data: TrainingData, settings: TrainParams, hierarchy: HierarchicalPlan, seed: int
) -> HierarchicalSampler:
    neighbours = min(hierarchy.neighbours, settings.identities)
    return HierarchicalSampler(
        tree,
        data.labels,
        classes=max(1, settings.identities // neighbours),
        neighbours=neighbours,
        images=settings.images,
        seed=seed,
    )


def _passes(sampler: _Batches, epoch: int) -> Iterator[list[int]]:
    """Batches without end: pass after pass, each numbered from the epoch alone so that an epoch can be run
    again.
    """
    number = epoch << 16
    while True:
        sampler.set_epoch(number)
        yield from sampler
        number += 1


def _run_epoch(
    model: EmbeddingModel,
    forward: Callable[[Tensor], Tensor],
    objective: CombinedLoss,
    averaged: AveragedWeights,
    optimizer: torch.optim.Optimizer,
    sampler: _Batches,
    data: TrainingData,
    settings: TrainParams,
    position: dict[str, Any],
    seed: int,
    on_step: Callable[[int, int], None] | None,
    ranks: Ranks,
) -> dict[str, float]:
    """One epoch in place; advances ``position['step']`` and returns the means of what the terms report."""
    epoch = int(position["epoch"])
    generator = torch.Generator().manual_seed((seed << 20) + epoch)
    torch.manual_seed((seed << 20) + epoch)
    how = Augmentation(settings.flip, settings.pad_crop, settings.erasing, settings.colour_jitter)
    sums: dict[str, float] = defaultdict(float)
    model.train()
    objective.train()
    device, trunk_parameters = next(model.parameters()).device, model.trunk_parameters()
    started, count, images = time.perf_counter(), 0, 0
    for batch in _passes(sampler, epoch):
        elapsed = position["elapsed"] + ranks.agree(time.perf_counter() - started)
        progress = (
            elapsed / settings.max_seconds if settings.max_seconds else position["step"] / settings.steps
        )
        if count == settings.epoch_steps or progress >= 1:
            break
        rates = SCHEDULES[settings.schedule](progress, settings.warmup_share)
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = settings.learning_rate * rates.factor, (rates.beta1, 0.999)
        if (
            position["step"] <= settings.freeze_steps and settings.freeze_steps
        ):  # past them there is nothing left to switch
            freeze(model.backbone, position["step"] < settings.freeze_steps)
        pixels = augment(torch.from_numpy(data.images[np.asarray(batch)]), how, generator)
        pixels = erase(normalise(pixels), settings.erasing, generator)
        # Every worker draws the whole batch's augmentation, so that the batch is the same whatever the number
        # of workers.
        own = pixels[ranks.part(len(batch))].to(device, memory_format=layout(settings.channels_last))
        features = forward(own)
        features = ranks.gather(features.float(), len(batch))
        labels = torch.from_numpy(data.labels[np.asarray(batch)]).to(device)
        # The losses refuse embeddings that are not finite; asked first, so that the message can name the
        # files.
        output = (
            objective(features_by_term(objective, features, model.neck(features)), labels)
            if torch.isfinite(features).all()
            else None
        )
        if output is None or not torch.isfinite(output.value):
            names = ", ".join(readable(data.paths[index]) for index in batch)
            what = "the embeddings are" if output is None else "the loss is"
            raise ReidError(
                f"{what} not finite at step {position['step']}: lower train.learning_rate; the batch "
                f"held {names}"
            )
        optimizer.zero_grad(set_to_none=True)
        output.value.backward()
        ranks.sum_gradients(trunk_parameters)
        if settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(
                [p for group in optimizer.param_groups for p in group["params"]], settings.gradient_clip
            )
        optimizer.step()
        averaged.update()
        count, images = count + 1, images + len(batch)
        position["step"] += 1
        _add(sums, "loss", output.value)
        for name, term in output.terms.items():
            _add(sums, f"{name}.loss", term.value)
            for key in ("active_fraction", "mean_positive", "mean_negative"):
                _add(sums, f"{name}.{key}", getattr(term, key))
            for key, value in term.extras.items():
                _add(sums, f"{name}.{key}", value)
        if on_step is not None:
            on_step(int(position["step"]), settings.steps)
    figures = {key: value / max(1, count) for key, value in sums.items()}
    return {key: value for key, value in figures.items() if math.isfinite(value)} | {"images": float(images)}


def _add(sums: dict[str, float], key: str, value: Tensor | float) -> None:
    sums[key] += float(value.detach() if isinstance(value, Tensor) else value)
