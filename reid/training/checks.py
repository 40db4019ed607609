"""Whether an objective can be trained, seen before anything runs: by what it says, by the space of its sweep,
and by the catalog.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from reid.card import shipped_start
from reid.config import ObjectiveParams, Params, objective_of, settings_of, with_values
from reid.data.catalog import Catalog
from reid.errors import ReidError, UsageError
from reid.losses import LOSSES, CombinedLoss
from reid.training.division import build
from reid.training.renewal import BatchPlan
from reid.training.samplers import Mined, Neighbourhoods, Source, build_sampler

__all__ = ["batch_plan", "check_catalog", "check_objective", "check_space", "label_column"]

# Layouts of a batch that one sampler makes and one loss reads.
_LAID_OUT = {"mined": "miner: drawn", "pairs": "the option pairs: drawn"}


def batch_plan(own: ObjectiveParams, objective: CombinedLoss) -> BatchPlan:
    """How the batches of an objective are drawn, with the class tree where its sampler or a loss needs one.

    Raises:
        UsageError: the sampler or one of its options is unknown.
    """
    sampler = build_sampler(own.sampler.name, own.sampler.options)
    grown = isinstance(sampler, Neighbourhoods) or any(
        hasattr(term, "set_tree") for term in objective.terms.values()
    )
    return BatchPlan(sampler, own.tree if grown else None)


def label_column(own: ObjectiveParams) -> str | None:
    """The catalog's column of label vectors that a loss or the sampler takes; None where none does."""
    losses = (LOSSES.get(term.loss or name) for name, term in own.terms.items() if term.weight)
    wanted = own.sampler.name == "dense" or any(getattr(loss, "continuous", False) for loss in losses)
    return own.labels if wanted else None


def check_objective(params: Params, name: str) -> None:
    """Build what ``name`` minimises and draws once, at a small size.

    Raises:
        UsageError: a loss, miner, sampler or option is unknown, or two of them do not go together; the
            message begins with the objective. Or the weights are of another backbone.
    """
    shipped_start(params.model.weights, params.model.backbone)
    try:
        _built(params, name)
    except UsageError as error:
        raise UsageError(f"{_section(params, name)}: {error}") from error


def _built(params: Params, name: str) -> tuple[CombinedLoss, BatchPlan]:
    own = objective_of(params, name)
    learners = own.divide.learners
    dim = params.model.embedding_dim if learners > 1 else None
    objective = build(own, num_classes=2, embedding_dim=dim or 4 * learners, images=0)
    for term, loss in objective.terms.items():
        for sampler, words in (("mined", getattr(loss, "miner", "")), ("pairs", getattr(loss, "pairs", ""))):
            if words == "drawn" and own.sampler.name != sampler:
                raise UsageError(
                    f"term {term}: {_LAID_OUT[sampler]} goes with the sampler {sampler}, not "
                    f"{own.sampler.name}"
                )
        settings = settings_of(params, name)
        memory, whole = getattr(loss, "memory", None), settings.identities * settings.images
        if memory is not None and memory < whole:
            raise UsageError(
                f"term {term}: a memory of {memory} holds no batch of {whole} (train.identities x "
                f"train.images): take {whole} or more"
            )
        queue, batch = getattr(loss, "queue", 0), settings.identities
        if queue % batch:
            raise UsageError(
                f"a queue of {queue} is no multiple of the batch of {batch}: take "
                f"{max(1, queue // batch) * batch} or {(queue // batch + 1) * batch}"
            )
    return objective, batch_plan(own, objective)


def _section(params: Params, name: str) -> str:
    return f"{'pretrain' if name in params.pretrain else 'objectives'}.{name}"


def check_space(params: Params, name: str) -> None:
    """Build the objective with every value that ``tune.space`` may choose, one at a time.

    Raises:
        UsageError: one cannot be built; the message names the key and the value.
    """
    for key, distribution in params.tune.space.items():
        for value in _values(distribution):
            try:
                check_objective(with_values(params, {key: value}), name)
            except UsageError as error:
                raise UsageError(f"tune.space.{key}, {value!r}: {error}") from error


def _values(distribution: dict[str, list[Any]]) -> Iterator[Any]:
    """Of a choice all values, of a range its ends."""
    for kind, arguments in distribution.items():
        yield from arguments if kind == "choice" else arguments[:1]
        if kind in ("uniform", "loguniform", "quniform"):
            yield from arguments[1:2]


def check_catalog(params: Params, name: str, catalog: Catalog) -> None:
    """See whether the catalog has what the objective draws and compares.

    Raises:
        ReidError: label vectors are missing, or no batch can be filled.
    """
    own, training = objective_of(params, name), catalog.split("train")
    section = _section(params, name)
    _, plan = _built(params, name)
    column = label_column(own)
    vectors = None if column is None else training.vectors(column)
    if column is not None:
        catalog.split("val").vectors(column)
    labels = training.labels()
    learners, people = own.divide.learners, len(np.unique(labels))
    if learners > 1 and people < 2 * learners:
        raise ReidError(
            f"objectives.{name}: divide: {learners} learners want two people each, and {people} are there to "
            "train on: lower learners"
        )
    if isinstance(plan.sampler, Mined) and not (np.bincount(labels) > 1).any():
        raise ReidError(
            f"{section}: the sampler mined finds no triplet where nobody has two images: take another"
        )
    if plan.tree is None and not isinstance(plan.sampler, Mined):
        source = Source(labels, training.cameras, vectors, settings_of(params, name), params.seed)
        try:
            plan.sampler.draw(source)
        except (ReidError, UsageError) as error:
            raise ReidError(f"{section}: sampler {own.sampler.name}: {error}") from error
