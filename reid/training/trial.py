"""One training from a catalog to a folder with the model: what a trial of a sweep does, and what a plain call
does.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from reid.config import Params, objective_of, settings_of
from reid.data.catalog import read_catalog
from reid.data.store import open_store
from reid.errors import ReidError, UsageError
from reid.files import atomic_path, read_json, write_json
from reid.losses import CombinedLoss
from reid.losses.bier import BierLoss
from reid.memory import keep_freed_memory
from reid.metric.class_tree import ClassTree
from reid.model_files import CHECKPOINT, HISTORY, OBJECTIVE, PAIR_METRIC, SUMMARY, TREE, WEIGHTS
from reid.models.embedder import EmbeddingModel, ModelSpec, build_model, load_model, save_model
from reid.models.inference import embed_images
from reid.processors import processors
from reid.training.batches import TrainingData
from reid.training.checkpoint import make_room, remove_unfinished
from reid.training.checks import batch_plan, label_column
from reid.training.distributed import ALONE, Ranks
from reid.training.division import build
from reid.training.loop import Epoch, train
from reid.training.pair_fit import fit_pair_metric
from reid.training.renewal import BatchPlan

__all__ = ["first_model", "load_training_data", "loss_and_batches", "model_spec", "run_training"]


def model_spec(params: Params) -> ModelSpec:
    """The network that params.yaml asks for."""
    return ModelSpec(**params.model.model_dump())


def loss_and_batches(
    params: Params, name: str, num_classes: int, embedding_dim: int, images: int = 0
) -> tuple[CombinedLoss, BatchPlan]:
    """What params.yaml asks ``name`` to minimise on so many training ``images``, and how its batches are
    drawn.
    """
    own = objective_of(params, name)
    objective = build(own, num_classes=num_classes, embedding_dim=embedding_dim, images=images)
    return objective, batch_plan(own, objective)


def first_model(params: Params, start: Path | None) -> tuple[EmbeddingModel, ModelSpec]:
    """The network before the first step: that of ``start``, or a new one as params.yaml says.

    Raises:
        ReidError: ``start`` is of another backbone than params.yaml asks for.
    """
    spec = model_spec(params)
    if start is None:
        return build_model(spec), spec
    model, found = load_model(start)
    if found.backbone != spec.backbone:
        raise ReidError(
            f"the start {start} is of backbone {found.backbone}, model.backbone is {spec.backbone}: train "
            "the start anew, or begin from another"
        )
    return model, found


def load_training_data(
    catalog: Path,
    height: int,
    width: int,
    progress: Callable[[int, int], None] | None = None,
    vectors: str | None = None,
) -> TrainingData:
    """Open the decoded training and validation images of a catalog, decoding them at first use; with the
    label vectors of the column ``vectors``, where one is named.

    Raises:
        ReidError: the catalog has fewer than two training people, or lacks label vectors.
    """
    everything = read_catalog(catalog)
    training, validation = everything.split("train"), everything.split("val")
    people = len(set(training.identities))
    if people < 2:
        raise ReidError(f"catalog {catalog} has {people} training people: metric learning needs at least 2")
    empty = np.empty((0, height, width, 3), np.uint8)
    return TrainingData(
        open_store(training, height, width, progress),
        training.labels(),
        training.cameras,
        training.paths,
        open_store(validation, height, width, progress) if len(validation) else empty,
        validation.identities,
        validation.cameras,
        validation.order,
        None if vectors is None else training.vectors(vectors),
        None if vectors is None else validation.vectors(vectors),
    )


def run_training(
    params: Params,
    objective_name: str,
    catalog: Path,
    out: Path,
    *,
    start: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Train ``objective_name`` and write the model into the existing folder ``out``.

    Writes ``model.safetensors``, ``objective.safetensors`` (the losses' own parameters), ``history.json``,
    ``summary.json``, with a class tree ``tree.npz``, and with a learned metric ``pair_metric.safetensors``.
    ``checkpoint.safetensors`` is kept while training and continued from where it exists.

    Args:
        params: all parameters.
        objective_name: a key of ``params.objectives`` or ``params.pretrain``.
        catalog: the catalog file.
        out: an existing folder.
        start: a ``model.safetensors`` to start from instead of ``params.model.weights``.
        on_epoch: see :func:`reid.training.loop.train`.
        on_step: likewise.
        ranks: likewise; the first worker writes the files.

    Returns:
        The figures of the last epoch.
    """
    settings = settings_of(params, objective_name)
    if settings.identities < settings.workers:
        raise UsageError(
            f"train.workers is {settings.workers}: want at most train.identities "
            f"({settings.identities}), a person for each"
        )
    torch.set_num_threads(min(settings.threads, processors()))
    keep_freed_memory()
    torch.manual_seed(params.seed)
    model, spec = first_model(params, start)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device)
    vectors = label_column(objective_of(params, objective_name))
    data = load_training_data(catalog, spec.height, spec.width, vectors=vectors)
    objective, plan = loss_and_batches(
        params, objective_name, int(data.labels.max()) + 1, model.dim, len(data.labels)
    )
    objective = objective.to(device)
    spec = _sliced(model, spec, objective)
    checkpoint = out / CHECKPOINT
    if ranks.is_first:  # a run killed in its last writes leaves files that nothing below writes again
        for name in (HISTORY, TREE, PAIR_METRIC, SUMMARY):
            remove_unfinished(out / name)
    history = _History(out / HISTORY, checkpoint.exists(), ranks.is_first)

    def note(epoch: Epoch) -> None:
        history.note(epoch)
        if on_epoch is not None:
            on_epoch(epoch)

    started = time.perf_counter()
    trained, tree = train(
        model,
        objective,
        data,
        settings,
        seed=params.seed,
        plan=plan,
        checkpoint=checkpoint,
        on_epoch=note,
        on_step=on_step,
        ranks=ranks,
    )
    last = history.last()
    if not ranks.is_first:
        return last
    _write_trained(trained, spec, objective, tree, out)
    _fit_and_write_pair_metric(trained, objective, data, params.seed, out)
    summary = {"objective": objective_name, "seconds": time.perf_counter() - started, "figures": last}
    write_json(out / SUMMARY, summary)
    checkpoint.unlink(missing_ok=True)
    return last


class _History:
    """The figures of all epochs, one row each, in a file that a continued training goes on with."""

    def __init__(self, file: Path, continued: bool, writes: bool) -> None:
        self._file = file
        self._writes = writes
        self._rows: list[dict[str, float]] = []
        if continued and file.exists():
            self._rows = read_json(file, "training history")

    def note(self, epoch: Epoch) -> None:
        """Add an epoch, in place of one that has its number or a later one."""
        self._rows = [row for row in self._rows if row["epoch"] < epoch.number]
        self._rows.append({"epoch": epoch.number, "step": epoch.step, **epoch.figures})
        if self._writes:
            write_json(self._file, self._rows)

    def last(self) -> dict[str, float]:
        """The figures of the last epoch."""
        return {key: value for key, value in self._rows[-1].items() if key not in ("epoch", "step")}


def _sliced(model: EmbeddingModel, spec: ModelSpec, objective: CombinedLoss) -> ModelSpec:
    """Where a loss boosts slices of the embedding, the model's slices are those; what the model is then."""
    slices = next((term.slices for term in objective.terms.values() if isinstance(term, BierLoss)), None)
    if slices is None:
        return spec
    model.slices = slices
    return dataclasses.replace(spec, slices=slices)


def _fit_and_write_pair_metric(
    trained: EmbeddingModel, objective: CombinedLoss, data: TrainingData, seed: int, out: Path
) -> None:
    """Where a loss has a learned metric, fit it once more, to the embeddings of the trained model."""
    metrics = (getattr(term, "pair_metric", None) for term in objective.terms.values())
    metric = next((found for found in metrics if found is not None), None)
    if metric is not None:
        fit_pair_metric(metric, embed_images(trained, data.images), data.labels, seed=seed)
        metric.save(out / PAIR_METRIC)


def _write_trained(
    trained: EmbeddingModel, spec: ModelSpec, objective: CombinedLoss, tree: ClassTree | None, out: Path
) -> None:
    with make_room(out / WEIGHTS):
        save_model(trained, spec, out / WEIGHTS)
    own_state = {key: value.cpu().contiguous() for key, value in objective.state_dict().items()}
    with make_room(out / OBJECTIVE), atomic_path(out / OBJECTIVE) as temporary:
        temporary.write_bytes(save(own_state))
    if tree is not None:
        tree.save(out / TREE)
