"""The samplers by name: how the batches of an objective are drawn.

An entry of ``SAMPLERS`` takes the options of ``objectives.NAME.sampler.options`` and draws from a
:class:`Source`. What is not given there comes from the section train: P, K and the batch of P x K images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from reid.config import TrainParams
from reid.data.sampling import HierarchicalSampler, PKSampler
from reid.data.triplet_sampling import (
    DenseSampler,
    PairSampler,
    ShuffledSampler,
    TripletSampler,
    ViewSampler,
)
from reid.errors import ReidError
from reid.metric.class_tree import ClassTree
from reid.metric.distances import unit_rows
from reid.metric.offline_mining import mine_training_set
from reid.options import fitting, one_of
from reid.training.batches import Batches

__all__ = ["PK", "SAMPLERS", "Mined", "Neighbourhoods", "SamplerPlan", "Source", "build_sampler"]


@dataclass(frozen=True)
class Source:
    """What batches are drawn from."""

    labels: npt.NDArray[np.int64]  # (N,)
    cameras: npt.NDArray[np.str_]  # (N,)
    vectors: npt.NDArray[np.float64] | None  # (N, V) continuous labels
    settings: TrainParams
    seed: int
    tree: ClassTree | None = None
    triplets: npt.NDArray[np.int64] | None = None  # (3, T), mined from the whole set


class SamplerPlan(Protocol):
    """A sampler with its options."""

    def draw(self, source: Source) -> Batches:
        """The batches of ``source``. Raises ReidError where a batch cannot be filled."""


@dataclass(frozen=True)
class PK:
    """P people with K images each (Hermans 2017, section 2)."""

    def draw(self, source: Source) -> Batches:
        """See :class:`PKSampler`."""
        settings = source.settings
        cameras = source.cameras if settings.camera_aware else None
        return PKSampler(
            source.labels, settings.identities, settings.images, seed=source.seed, cameras=cameras
        )


@dataclass(frozen=True)
class Neighbourhoods:
    """A class and its ``neighbours - 1`` nearest in the class tree (Ge 2018, section 4.2), P classes with K
    images in all; ``camera_aware`` spreads the images of a class over as many cameras as it has, as
    ``train.camera_aware`` has the sampler pk do.
    """

    neighbours: int = 4
    camera_aware: bool = False

    def draw(self, source: Source) -> Batches:
        """See :class:`HierarchicalSampler`."""
        assert source.tree is not None
        settings = source.settings
        neighbours = min(self.neighbours, settings.identities)
        return HierarchicalSampler(
            source.tree,
            source.labels,
            classes=max(1, settings.identities // neighbours),
            neighbours=neighbours,
            images=settings.images,
            seed=source.seed,
            cameras=source.cameras if self.camera_aware else None,
        )


@dataclass(frozen=True)
class Mined:
    """Triplets mined over the whole training set, anew every ``every`` epochs.

    ``rule`` is ``hard`` or ``semi_hard``, of embeddings as they are or normalised. ``triplets`` of a batch;
    by default as many as make P x K images. ``block`` rows are compared at a time, which bounds the memory.
    """

    rule: Literal["hard", "semi_hard"] = "semi_hard"
    every: int = 1
    triplets: int | None = None
    normalise: bool = False
    block: int = 1024

    def mine(
        self, embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], seed: int
    ) -> npt.NDArray[np.int64]:
        """(3, T) anchors, positives and negatives of embeddings (N, D). Raises ReidError where there is
        none.
        """
        rows = torch.from_numpy(embeddings)
        generator = torch.Generator().manual_seed(seed)
        found = mine_training_set(
            unit_rows(rows) if self.normalise else rows,
            torch.from_numpy(labels),
            self.rule,
            generator=generator,
            block=self.block,
        )
        if not len(found.anchor):
            raise ReidError(
                f"sampler mined found no {self.rule} triplet among {len(labels)} images: every person has "
                "one image, or there is one person; take rule: hard, or the sampler pk"
            )
        return torch.stack(found).numpy()

    def draw(self, source: Source) -> Batches:
        """See :class:`TripletSampler`."""
        assert source.triplets is not None
        count = self.triplets or max(1, _batch(source.settings) // 3)
        anchor, positive, negative = source.triplets
        return TripletSampler(anchor, positive, negative, triplets=count, seed=source.seed)


@dataclass(frozen=True)
class Dense:
    """An anchor, its ``neighbours`` nearest by continuous label and ``others`` at random (Kim 2019, section
    3.3); by default P x K images, half of them neighbours.
    """

    neighbours: int | None = None
    others: int | None = None

    def draw(self, source: Source) -> Batches:
        """See :class:`DenseSampler`."""
        assert source.vectors is not None
        batch = _batch(source.settings)
        neighbours = self.neighbours or max(1, batch // 2)
        return DenseSampler(
            source.vectors, neighbours, self.others or max(1, batch - 1 - neighbours), seed=source.seed
        )


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, half of them of one person and half of two (Hadsell 2006); P x K images."""

    def draw(self, source: Source) -> Batches:
        """See :class:`PairSampler`."""
        return PairSampler(source.labels, max(1, _batch(source.settings) // 2), seed=source.seed)


@dataclass(frozen=True)
class Shuffled:
    """P x K images at random, every image once in a pass: for classifiers and proxies."""

    def draw(self, source: Source) -> Batches:
        """See :class:`ShuffledSampler`."""
        return ShuffledSampler(len(source.labels), _batch(source.settings), seed=source.seed)


@dataclass(frozen=True)
class Views:
    """P images at random, K views of each: two rows of one image differ by their augmentation alone."""

    def draw(self, source: Source) -> Batches:
        """See :class:`ViewSampler`."""
        settings = source.settings
        return ViewSampler(len(source.labels), settings.identities, settings.images, seed=source.seed)


SAMPLERS: dict[str, Callable[..., SamplerPlan]] = {
    "pk": PK,
    "neighbourhoods": Neighbourhoods,
    "mined": Mined,
    "dense": Dense,
    "pairs": Pairs,
    "shuffled": Shuffled,
    "views": Views,
}


def build_sampler(name: str, options: Mapping[str, Any]) -> SamplerPlan:
    """The sampler ``name`` with its options.

    Raises:
        UsageError: an unknown name, or an option that is unknown or of another type.
    """
    make = one_of(SAMPLERS, name, "sampler")
    built: SamplerPlan = make(**fitting(make, options, f"sampler {name}"))
    return built


def _batch(settings: TrainParams) -> int:
    return settings.identities * settings.images
