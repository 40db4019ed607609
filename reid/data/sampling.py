"""Batch samplers for metric learning. Every draw depends on (seed, epoch) alone.

Several workers draw the same batch, and each takes its part of it (:mod:`reid.training.loop`)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from reid.errors import ReidError, UsageError
from reid.metric.class_tree import ClassTree

__all__ = ["HierarchicalSampler", "PKSampler", "draw_images"]

Indices = npt.NDArray[np.int64]


def draw_images(
    images: Indices, count: int, rng: np.random.Generator, cameras: npt.NDArray[Any] | None = None
) -> Indices:
    """Draw ``count`` of an identity's images; all of them before any comes twice.

    Args:
        images: (n,) row numbers of the identity's images.
        count: how many to draw; beyond n the rest is drawn with replacement.
        rng: the source of chance.
        cameras: (n,) camera of each image; given, the draw takes a camera a second time only when every
            camera had its turn.
    """
    order = rng.permutation(len(images))
    if cameras is not None:
        order = _spread(order, cameras, rng)
    if count > len(images):
        order = np.concatenate([order, rng.integers(len(images), size=count - len(images))])
    return images[order[:count]]


def _spread(order: Indices, cameras: npt.NDArray[Any], rng: np.random.Generator) -> Indices:
    """Reorder so that the first image of every camera comes before the second of any."""
    names, camera = np.unique(cameras, return_inverse=True)
    turn = np.empty(len(order), dtype=np.int64)
    seen = np.zeros(len(names), dtype=np.int64)
    for image in order:
        turn[image] = seen[camera[image]]
        seen[camera[image]] += 1
    place = rng.permutation(len(names))[camera]
    return np.lexsort((place, turn)).astype(np.int64)


def _positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UsageError(f"{name} of the sampler is {value}: take at least 1")


class _EpochSampler(Sampler[list[int]]):
    """What both samplers share: images by label, cameras, seed, epoch."""

    def __init__(
        self, labels: Any, seed: int, cameras: Sequence[Any] | npt.NDArray[Any] | None = None
    ) -> None:
        self.labels = np.asarray(labels.cpu() if hasattr(labels, "cpu") else labels)
        if self.labels.ndim != 1 or not len(self.labels):
            raise ReidError(
                f"labels {self.labels.shape} for the sampler: want one label for each of at least one image"
            )
        self.identities, index = np.unique(self.labels, return_inverse=True)
        order = np.argsort(index, kind="stable")
        self.images: list[Indices] = np.split(order, np.cumsum(np.bincount(index))[:-1])
        self.cameras = None if cameras is None else np.asarray(cameras)
        if self.cameras is not None and self.cameras.shape != self.labels.shape:
            raise ReidError(
                f"cameras {self.cameras.shape} and labels {self.labels.shape} of the sampler differ: "
                "want one of each an image"
            )
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw anew, and the same on every call with this epoch."""
        self.epoch = epoch

    def _class_rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch])

    def _image_rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, 0, 1])

    def _draw(self, identity: int, count: int, rng: np.random.Generator) -> Indices:
        images = self.images[identity]
        return draw_images(images, count, rng, None if self.cameras is None else self.cameras[images])


class PKSampler(_EpochSampler):
    """P identities with K images each (Hermans 2017, section 2). One pass visits every identity.

    The last incomplete batch is filled with other identities. With fewer than P identities every batch holds
    them all, so no identity is ever twice in a batch.

    >>> labels = ["anna"] * 3 + ["bert"] * 2 + ["carl"] * 4
    >>> [[labels[row] for row in batch] for batch in PKSampler(labels, p=3, k=2)]
    [['carl', 'carl', 'anna', 'anna', 'bert', 'bert']]

    Args:
        labels: (N,) identity of each image: any integers or strings.
        p: identities in a batch.
        k: images of each, at least 2; an identity with fewer images repeats some.
        seed: of all draws.
        cameras: (N,) camera of each image; given, the K images of an identity spread over as many cameras as
            it has.

    Raises:
        UsageError: p < 1 or k < 2.
        ReidError: labels or cameras of a wrong shape.
    """

    def __init__(
        self,
        labels: Any,
        p: int,
        k: int,
        seed: int = 0,
        cameras: Sequence[Any] | npt.NDArray[Any] | None = None,
    ) -> None:
        super().__init__(labels, seed, cameras)
        _positive(p=p)
        if k < 2:
            raise UsageError(f"k of the sampler is {k}: an anchor needs a positive, take at least 2")
        self.p, self.k = p, k

    def __len__(self) -> int:
        return math.ceil(len(self.identities) / self.p)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._filled(self._class_rng())
        rng = self._image_rng()
        for step in range(len(self)):
            start = step * self.p
            chosen = order[start : start + self.p]
            yield [int(image) for identity in chosen for image in self._draw(int(identity), self.k, rng)]

    def _filled(self, rng: np.random.Generator) -> Indices:
        """Every identity once in random order, then others until the last batch is full."""
        order = rng.permutation(len(self.identities))
        missing = len(self) * self.p - len(order)
        last = order[(len(self) - 1) * self.p :]
        others = rng.permutation(np.setdiff1d(order, last))  # none where there are fewer than P
        return np.concatenate([order, others[:missing]])


class HierarchicalSampler(_EpochSampler):
    """Anchor neighbourhoods (Ge 2018, section 4.2): ``classes`` random anchor classes, each with its
    ``neighbours - 1`` nearest classes at level 0 of the current tree, ``images`` of each.

    A class that two neighbourhoods share is taken once, and the next nearest takes its place, so that a batch
    always holds ``classes * neighbours * images`` images as long as there are that many classes.

    Args:
        tree: the class tree; replaced by :meth:`set_tree` when it is rebuilt.
        labels: (N,) integer label of each image, as in ``tree.classes``.
        classes: anchor classes in a batch, l'.
        neighbours: size of a neighbourhood with its anchor, m.
        images: of each class, t, at least 2.
        seed: of all draws.
        batches: in an epoch; by default as many as make every class an anchor once.
        cameras: (N,) camera of each image; given, the images of a class spread over as many cameras as it
            has.

    Raises:
        UsageError: a count below 1, or fewer than 2 images.
        ReidError: labels or cameras of a wrong shape, or the tree is of other classes than the labels.
    """

    def __init__(
        self,
        tree: ClassTree,
        labels: Any,
        classes: int,
        neighbours: int,
        images: int,
        seed: int = 0,
        batches: int | None = None,
        cameras: Sequence[Any] | npt.NDArray[Any] | None = None,
    ) -> None:
        super().__init__(labels, seed, cameras)
        _positive(classes=classes, neighbours=neighbours, batches=1 if batches is None else batches)
        if images < 2:
            raise UsageError(
                f"images of the sampler is {images}: an anchor needs a positive, take at least 2"
            )
        self.anchors = classes
        self.neighbours = neighbours
        self.per_class = images
        self.batches = batches
        self.set_tree(tree)

    def set_tree(self, tree: ClassTree) -> None:
        """Draw neighbourhoods from ``tree`` from now on. Raises ReidError where it is of other classes than
        the labels.
        """
        if not np.array_equal(tree.classes, self.identities):
            raise ReidError(
                f"the tree has {len(tree.classes)} classes, the labels {len(self.identities)} others: "
                "rebuild it"
            )
        self.tree = tree

    def __len__(self) -> int:
        if self.batches is not None:
            return self.batches
        return math.ceil(len(self.identities) / self.anchors)

    def __iter__(self) -> Iterator[list[int]]:
        rng = self._image_rng()
        for anchors in self._anchors(self._class_rng()):
            chosen = self._neighbourhoods(anchors)
            yield [int(image) for class_ in chosen for image in self._draw(class_, self.per_class, rng)]

    def _anchors(self, rng: np.random.Generator) -> Iterator[Indices]:
        """Anchor classes of each batch; every class comes once before any comes again, but for a batch's own
        repeats.
        """
        size = min(self.anchors, len(self.identities))
        pool: Indices = np.empty(0, dtype=np.int64)
        for _ in range(len(self)):
            if len(pool) < size:
                fresh = rng.permutation(len(self.identities))
                # Who still waits for a turn comes first, so that no class is twice in a batch.
                pool = np.concatenate([pool, fresh[~np.isin(fresh, pool)], fresh[np.isin(fresh, pool)]])
            yield pool[:size]
            pool = pool[size:]

    def _neighbourhoods(self, anchors: Indices) -> list[int]:
        chosen = [int(anchor) for anchor in anchors]
        for anchor in anchors:
            near = self.tree.nearest(int(anchor), len(chosen) + self.neighbours)
            free = near[~np.isin(near, chosen)]
            chosen.extend(int(class_) for class_ in free[: self.neighbours - 1])
        return chosen
