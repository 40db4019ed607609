"""Divide and conquer (Sanakoyeu, Tschernezki, Büchler and Ommer 2019): for a share of the training, learners
on people and numbers of the embedding of their own; then one on everything.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from reid.config import DivideParams, ObjectiveParams
from reid.errors import UsageError
from reid.losses import CombinedLoss
from reid.metric.division import divided, matched
from reid.training.batches import Batches
from reid.training.objective import build_objective
from reid.training.samplers import SamplerPlan, Source

__all__ = ["DivideAndConquer", "DividedBatches", "build", "draw"]

DRAWS_FROM_PARTS = ("pk", "pairs", "shuffled")
"""The samplers that need nothing of people outside a group."""

Rows = npt.NDArray[np.int64]


class DivideAndConquer(CombinedLoss):
    """The objective of the whole embedding, and one for each of K slices of it.

    Which images belong to which learner is part of its state, so a training that is continued between two
    clusterings has it from its checkpoint.

    Args:
        whole: compares whole embeddings (B, D).
        learners: K of them, each comparing slices (B, D / K).
        images: N, of the training.
        plan: how long, and how often people are clustered.
    """

    group: Tensor

    def __init__(
        self, whole: CombinedLoss, learners: list[CombinedLoss], images: int, plan: DivideParams
    ) -> None:
        weighted = {name: (whole.weights[name], term) for name, term in whole.terms.items()}
        super().__init__(weighted, whole.after)
        # ``group`` where the processor finds it: each step asks for a number of it, and must wait for no GPU.
        self._known: Rows = np.full(images, -1)
        self.learners = nn.ModuleList(learners)
        self.plan = plan
        self.dividing = False
        self.register_buffer("group", torch.full((images,), -1, dtype=torch.int64))

    def begin(
        self,
        epoch: int,
        progress: float,
        labels: Rows,
        seed: int,
        embed: Callable[[], npt.NDArray[np.float32]],
    ) -> None:
        """At the start of an epoch: cluster anew where that is due. ``embed`` gives the embeddings (N, D)."""
        self.dividing = progress < self.plan.share
        if not self.dividing:
            return
        known = self._known = self.group.cpu().numpy()  # it may come from a checkpoint
        if epoch % self.plan.every:
            return
        group = divided(embed(), labels, len(self.learners), seed)
        if known[0] >= 0:
            group = matched(group, known, len(self.learners))
        self.group.copy_(torch.from_numpy(group))
        self._known = group

    def learner_of(self, row: int, features: Tensor, necked: Tensor) -> tuple[CombinedLoss, Tensor, Tensor]:
        """Who learns from the batch that ``row`` of the training images belongs to, and its slice of the
        features (B, D) before and after the neck.
        """
        if not self.dividing:
            return self, features, necked
        number, width = int(self._known[row]), features.shape[1] // len(self.learners)
        part = slice(number * width, (number + 1) * width)
        learner = self.learners[number]
        assert isinstance(learner, CombinedLoss)
        return learner, features[:, part], necked[:, part]


class DividedBatches:
    """Batches of one group each, the groups in turn; a pass is over when the largest group is through.

    Args:
        group: (N,) of each image.
        groups: their number.
        draw: the batches of some row numbers of the training images, by places among these.
    """

    def __init__(self, group: Rows, groups: int, draw: Callable[[Rows, int], Batches]) -> None:
        self.rows = [np.flatnonzero(group == number) for number in range(groups)]
        self.samplers = [draw(rows, number) for number, rows in enumerate(self.rows)]

    def set_epoch(self, epoch: int) -> None:
        """Draw anew, and the same on every call with this epoch."""
        for sampler in self.samplers:
            sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        passes = [list(sampler) for sampler in self.samplers]
        for turn in range(max(map(len, passes))):
            for rows, batches in zip(self.rows, passes, strict=True):
                yield rows[batches[turn % len(batches)]].tolist()


def draw(objective: CombinedLoss, sampler: SamplerPlan, source: Source) -> Batches:
    """The batches of the coming epoch: of all images, or of each learner's in turn."""
    if not (isinstance(objective, DivideAndConquer) and objective.dividing):
        return sampler.draw(source)

    def of_rows(rows: Rows, number: int) -> Batches:
        own = replace(
            source, labels=source.labels[rows], cameras=source.cameras[rows], seed=source.seed + number
        )
        return sampler.draw(own)

    return DividedBatches(objective.group.cpu().numpy(), len(objective.learners), of_rows)


def build(own: ObjectiveParams, *, num_classes: int, embedding_dim: int, images: int) -> CombinedLoss:
    """What an objective minimises, divided where it says so.

    Raises:
        UsageError: the embedding cannot be cut into equal slices, a loss needs a class tree or a learned
            metric, the sampler draws from everybody; or as :func:`reid.training.objective.build_objective`.
    """
    whole = build_objective(own.terms, num_classes=num_classes, embedding_dim=embedding_dim)
    count = own.divide.learners
    if count == 1:
        return whole
    if embedding_dim % count:
        raise UsageError(
            f"divide: an embedding of {embedding_dim} numbers has no {count} equal slices: set "
            "model.embedding_dim to a multiple of learners"
        )
    if own.sampler.name not in DRAWS_FROM_PARTS:
        raise UsageError(
            f"divide: the sampler {own.sampler.name} draws from everybody: take one of "
            f"{', '.join(DRAWS_FROM_PARTS)}"
        )
    for name, term in whole.terms.items():
        if hasattr(term, "set_tree") or getattr(term, "pair_metric", None) is not None:
            raise UsageError(
                f"divide: term {name} has a class tree or a learned metric of everybody: take another loss"
            )
    learners = [
        build_objective(own.terms, num_classes=num_classes, embedding_dim=embedding_dim // count)
        for _ in range(count)
    ]
    return DivideAndConquer(whole, learners, images, own.divide)
