"""The training loop: batches from the store, one optimiser, averaged weights, validation on people held
out.
"""

import gc
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reid.config import TrainParams
from reid.losses import CombinedLoss
from reid.losses.combined import CombinedOutput
from reid.metric.class_tree import ClassTree
from reid.metric.mining import labels_on
from reid.models.embedder import EmbeddingModel
from reid.models.inference import extract_features
from reid.training.batches import Batches, TrainingData, augmented, batches_of
from reid.training.checkpoint import load_checkpoint, save_checkpoint
from reid.training.distributed import ALONE, Ranks, share_batch_statistics
from reid.training.division import DivideAndConquer, draw
from reid.training.finite import FiniteCheck
from reid.training.modes import freeze, freeze_first, half_precision, key_pass, layout, training_pass
from reid.training.objective import features_by_term, labels_by_term
from reid.training.out_of_memory import memory_advice
from reid.training.renewal import PK_BATCHES, BatchPlan, Renewal
from reid.training.samplers import Source
from reid.training.self_distillation import Teacher
from reid.training.state import TrainingState
from reid.training.validation import validate, validate_continuous

__all__ = ["Epoch", "train"]


@dataclass(frozen=True)
class Epoch:
    """What one epoch printed: its number, the optimiser's step, and figures by name."""

    number: int
    step: int
    figures: dict[str, float]


@dataclass(frozen=True)
class _Run:
    """What stays the same from the first step to the last."""

    forward: Callable[[Tensor], Tensor]
    # Of every second row, where a loss wants them of averaged weights.
    keys: Callable[[Tensor], Tensor] | None
    teacher: Teacher | None
    data: TrainingData
    settings: TrainParams
    seed: int
    ranks: Ranks
    on_step: Callable[[int, int], None] | None
    clock: Callable[[], float]


def train(
    model: EmbeddingModel,
    objective: CombinedLoss,
    data: TrainingData,
    settings: TrainParams,
    *,
    seed: int,
    plan: BatchPlan = PK_BATCHES,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    ranks: Ranks = ALONE,
    clock: Callable[[], float] = time.perf_counter,
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
        plan: how batches are drawn, and when the class tree is made anew.
        checkpoint: written after each epoch and continued from where it exists.
        on_epoch: called after each epoch, with the validation figures of the averaged weights; a continued
            run tells the epoch of its checkpoint once more.
        on_step: called after each step with (step, steps).
        ranks: the place among several workers that train together; all call this with equal arguments, and
            the first writes the checkpoint, which the others must be able to read.
        clock: the seconds that ``settings.max_seconds`` and the images per second are measured in;
            ``time.process_time`` leaves out what else the machine does.

    Returns:
        The model with averaged weights, in evaluation mode, and the last class tree where there is one.

    Raises:
        ReidError: the loss is not finite (the message names the images of the batch), memory is short (it
            says which batch to try), or the checkpoint cannot be written (the one before is left whole).
    """
    torch.manual_seed(seed)
    if ranks.size > 1:
        share_batch_statistics(model.backbone)
    model.to(memory_format=layout(settings.channels_last))
    half = half_precision(settings.precision)
    freeze_first(model.backbone, settings.freeze_blocks)
    forward = training_pass(model.train(), half, settings.compile)
    state = TrainingState.start(model, objective, settings)
    keyed = any(getattr(term, "momentum_keys", False) for term in objective.terms.values())
    keys = key_pass(state.averaged.module, half) if keyed else None
    teacher = Teacher.of(state.averaged.module, settings, ranks)
    run = _Run(forward, keys, teacher, data, settings, seed, ranks, on_step, clock)
    embed = partial(_embedded, model, objective, data, half)
    if checkpoint is not None and checkpoint.exists():
        figures = load_checkpoint(checkpoint, state)
        # A run killed after it wrote the checkpoint has not reported that epoch.
        if on_epoch is not None:
            on_epoch(Epoch(state.epoch, state.step, figures))
    renewal = Renewal(
        plan, data.labels, seed, None if checkpoint is None else checkpoint.parent, ranks.is_first
    )
    while state.progress(settings) < 1:
        started = clock()
        renewal.begin(state.epoch, embed)
        _begin_epoch(objective, state, run, renewal.tree, partial(embed, None))
        source = Source(
            data.labels, data.cameras, data.vectors, settings, seed, renewal.tree, renewal.triplets
        )
        sampler = draw(objective, plan.sampler, source)
        with memory_advice(settings.identities, settings.images), old_objects_frozen():
            figures = _run_epoch(state, run, sampler)
        # Clocks differ, and every worker must end with the same step.
        seconds = ranks.broadcast(clock() - started)
        state.epoch += 1
        state.elapsed += seconds
        figures["images_per_second"] = figures.pop("images") / seconds
        figures |= _validated(state.averaged.module, data)
        if checkpoint is not None and ranks.is_first:
            save_checkpoint(checkpoint, state, figures)
        if on_epoch is not None:
            on_epoch(Epoch(state.epoch, state.step, figures))
    result = state.averaged.module.eval()
    renewal.forget()
    if plan.tree is None:
        return result, None
    features = _embedded(result, objective, data, half, None)
    return result, ClassTree.from_embeddings(features, data.labels, levels=plan.tree.levels)


def _begin_epoch(
    objective: CombinedLoss,
    state: TrainingState,
    run: _Run,
    tree: ClassTree | None,
    embed: Callable[[], npt.NDArray[np.float32]],
) -> None:
    """What the losses take from the embeddings of now."""
    for term in objective.terms.values():
        if hasattr(term, "set_tree"):
            term.set_tree(tree)  # type: ignore[operator]
    if isinstance(objective, DivideAndConquer):
        objective.begin(state.epoch, state.progress(run.settings), run.data.labels, run.seed, embed)


def _validated(model: EmbeddingModel, data: TrainingData) -> dict[str, float]:
    figures = validate(model, data.val_images, data.val_identities, data.val_cameras, data.val_order)
    if data.val_vectors is not None:
        figures |= validate_continuous(model, data.val_images, data.val_vectors)
    return figures


def _embedded(
    model: EmbeddingModel,
    objective: CombinedLoss,
    data: TrainingData,
    half: bool,
    rows: npt.NDArray[np.int64] | None,
) -> npt.NDArray[np.float32]:
    """Features (N, D) of these training images, all for None, for what is renewed between epochs: of the side
    of the neck whose distances the class tree's thresholds, or the triplets drawn by it, are held against.
    """
    renewed = (
        name
        for name, term in objective.terms.items()
        if hasattr(term, "set_tree") or getattr(term, "miner", None) == "drawn"
    )
    necked = any(name in objective.after for name in renewed)
    with torch.autocast(next(model.parameters()).device.type, torch.bfloat16, enabled=half):
        return extract_features(model, data.images if rows is None else data.images[rows], necked=necked)


@contextmanager
def old_objects_frozen() -> Iterator[None]:
    """Within, Python's collector of cycles looks only at objects made within.

    Each step makes thousands of objects that live until its end, which sends the collector through everything
    that was imported again and again: a tenth of the time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _run_epoch(state: TrainingState, run: _Run, sampler: Batches) -> dict[str, float]:
    """One epoch in place; returns the means of what the terms report, and the number of ``images``."""
    data = run.data
    settings = run.settings
    ranks = run.ranks
    # All chance of an epoch comes from its number and the seed, so that a continued run draws the same again.
    epoch_seed = (run.seed << 20) + state.epoch
    generator = torch.Generator().manual_seed(epoch_seed)
    torch.manual_seed(epoch_seed)
    state.model.train()
    state.objective.train()
    device = next(state.model.parameters()).device
    of_part = state.model.backbone_parameters()
    started = run.clock()
    means, finite = _Means(), FiniteCheck(data.paths)
    for batch in islice(batches_of(sampler, state.epoch), settings.epoch_steps):
        rows = np.asarray(batch)
        progress = state.progress(settings, ranks.broadcast(run.clock() - started))
        if progress >= 1:
            break
        state.set_rates(settings, progress)
        # The step that follows the frozen ones thaws the backbone; later there is nothing left to switch.
        if 0 < settings.freeze_steps >= state.step:
            freeze(state.model.backbone, state.step < settings.freeze_steps, settings.freeze_blocks)
        # Each worker draws the whole batch's augmentation and keeps its part, so that the batch is the same
        # whatever the number of workers.
        own = ranks.part(len(rows))
        images = augmented(data, rows, settings, generator, device)[own]
        features = _features(run, images, own.start)
        # The losses compare images of all workers, and need float32: distances are small differences.
        features = ranks.gather(features, len(rows))
        # Asked before the losses, which would refuse such features by row number instead of by file.
        finite.look("the embeddings are", features, state.step, rows)
        necked = state.model.neck(features)
        output = _loss(state, features, necked, data, rows)
        if run.teacher is not None:
            output = run.teacher.taught(output, images, necked, progress)
        finite.look("the loss is", output.value, state.step, rows)
        state.optimizer.zero_grad(set_to_none=True)
        output.value.backward()
        # What lies behind the gathered features has its whole gradient on every worker; the network before
        # them has seen one part of the batch.
        ranks.sum_gradients(of_part)
        if settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(state.parameters, settings.gradient_clip)
        state.optimizer.step()
        state.averaged.update()
        state.step += 1
        means.add(output, len(rows))
        if run.on_step is not None:
            run.on_step(state.step, settings.steps)
    finite.end()
    return means.figures()


def _features(run: _Run, images: Tensor, first: int) -> Tensor:
    """Float32 features (B, D) of images whose first is row ``first`` of the whole batch."""
    form = layout(run.settings.channels_last)
    if run.keys is None:
        return run.forward(images.to(memory_format=form)).float()
    asking, answering = slice(first % 2, None, 2), slice(1 - first % 2, None, 2)
    queries = run.forward(images[asking].to(memory_format=form)).float()
    keys = run.keys(images[answering].to(memory_format=form)).float()
    features = queries.new_empty(len(images), queries.shape[1])
    features[asking], features[answering] = queries, keys
    return features


def _loss(
    state: TrainingState, features: Tensor, necked: Tensor, data: TrainingData, rows: npt.NDArray[np.int64]
) -> CombinedOutput:
    """The loss of the features (B, D) before the neck, and after it, of these rows of the data."""
    labels = labels_on(features.device, torch.from_numpy(data.labels[rows]))
    objective = state.objective
    if isinstance(objective, DivideAndConquer):
        objective, features, necked = objective.learner_of(int(rows[0]), features, necked)
    by_term = features_by_term(objective, features, necked)
    vectors = None
    if data.vectors is not None:
        vectors = torch.from_numpy(data.vectors[rows]).to(features.device, non_blocking=True)
    output: CombinedOutput = objective(by_term, labels_by_term(objective, labels, vectors))
    return output


class _Means:
    """Means over the steps of an epoch of what the objective reports."""

    def __init__(self) -> None:
        # By the names that a step reported: its figures as one tensor, which is looked at when all is over.
        self.steps: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
        self.images = 0

    def add(self, output: CombinedOutput, images: int) -> None:
        self.images += images
        found = {"loss": output.value, **output.extras}
        for name, term in output.terms.items():
            values = {
                "loss": term.value,
                "active_fraction": term.active_fraction,
                "mean_positive": term.mean_positive,
                "mean_negative": term.mean_negative,
                **term.extras,
            }
            found |= {f"{name}.{key}": value for key, value in values.items()}
        with torch.no_grad():
            self.steps[tuple(found)].append(torch.stack([value.double() for value in found.values()]))

    def figures(self) -> dict[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for names, rows in self.steps.items():
            for name, value in zip(names, torch.stack(rows).sum(0).tolist(), strict=True):
                sums[name] += value
        steps = max(1, sum(map(len, self.steps.values())))
        means = {key: value / steps for key, value in sums.items()}
        finite = {key: value for key, value in means.items() if math.isfinite(value)}
        return finite | {"images": float(self.images)}
