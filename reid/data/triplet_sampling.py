"""Batches made of chosen triplets, of pairs, of single images and their views, and of an anchor with its
neighbourhood by continuous labels. Deterministic as the other samplers. Where several workers train one
model, each draws the whole batch and trains its part of it (``reid.training.distributed``).
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from reid.errors import ReidError, UsageError

__all__ = ["DenseSampler", "PairSampler", "ShuffledSampler", "TripletSampler", "ViewSampler"]


class _Seeded(Sampler[list[int]]):
    def __init__(self, seed: int, **counts: int) -> None:
        for name, value in counts.items():
            if value < 1:
                raise UsageError(f"{name} of the sampler is {value}: take at least 1")
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw anew, and the same on every call with this epoch."""
        self.epoch = epoch


class TripletSampler(_Seeded):
    """Batches of mined triplets: all anchors, then all positives, then all negatives.

    Args:
        anchor, positive, negative: (T,) row numbers of the data set, as
            :func:`reid.metric.offline_mining.mine_training_set` finds them.
        triplets: in a batch, which then holds three times as many images.
        seed: of the order; the last batch is filled from its start.
    """

    def __init__(
        self,
        anchor: Any,
        positive: Any,
        negative: Any,
        triplets: int,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, triplets=triplets)
        self.rows = np.stack(
            [np.asarray(part, dtype=np.int64) for part in (anchor, positive, negative)], axis=1
        )
        if not len(self.rows):
            raise ReidError(
                "there is no triplet to sample: every identity has one image, or there is one identity"
            )
        self.triplets = triplets

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.triplets)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))
        order = np.resize(order, len(self) * self.triplets)
        for step in range(len(self)):
            start = step * self.triplets
            yield self.rows[order[start : start + self.triplets]].T.flatten().tolist()


class PairSampler(_Seeded):
    """Siamese batches: the first images of all pairs, then their second images. The first half of the pairs
    (rounded up) is of one label, the others of two (Hadsell, Chopra and LeCun 2006, section 2.2).

    Args:
        labels: (N,) of any integer values.
        pairs: in a batch, which then holds twice as many images.
        seed: of all draws.

    Raises:
        ReidError: there is one label, or none with two images.
    """

    def __init__(self, labels: Any, pairs: int, seed: int = 0) -> None:
        super().__init__(seed, pairs=pairs)
        self.labels = np.asarray(labels)
        count = np.unique(self.labels, return_inverse=True, return_counts=True)
        self.group, self.sizes = count[1], count[2]
        # Rows by label, so that those of one label are a stretch and all others are the rest around it.
        self.order = np.argsort(self.group, kind="stable")
        self.place = np.argsort(self.order)
        self.first = np.cumsum(self.sizes) - self.sizes
        self.paired = np.flatnonzero(self.sizes[self.group] > 1)
        if not len(self.paired) or len(self.sizes) < 2:
            raise ReidError("there are no pairs to sample: want two people, one of them with two images")
        self.pairs = pairs

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / (2 * self.pairs))

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch, 0, 1])
        equal = math.ceil(self.pairs / 2)
        for _ in range(len(self)):
            left = np.concatenate(
                [rng.choice(self.paired, equal), rng.integers(len(self.labels), size=self.pairs - equal)]
            )
            group = self.group[left]
            first, size = self.first[group], self.sizes[group]
            place = np.empty_like(left)
            # Another image of the same label: any place in its stretch but the image's own.
            same = slice(None, equal)
            own = self.place[left[same]] - first[same]
            drawn = rng.integers(size[same] - 1)
            place[same] = first[same] + drawn + (drawn >= own)
            other = slice(equal, None)
            place[other] = (first + size)[other] + rng.integers(len(self.labels) - size[other])
            right = self.order[place % len(self.labels)]
            yield [int(row) for row in (*left, *right)]


class ShuffledSampler(_Seeded):
    """Every image once in random order, ``size`` at a time; the last batch is filled from the start of the
    order.
    """

    def __init__(self, images: int, size: int, seed: int = 0) -> None:
        super().__init__(seed, images=images, size=size)
        self.images, self.size = images, size

    def __len__(self) -> int:
        return math.ceil(self.images / self.size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.images)
        order = np.resize(order, len(self) * self.size)
        for step in range(len(self)):
            start = step * self.size
            yield order[start : start + self.size].tolist()


class ViewSampler(ShuffledSampler):
    """As :class:`ShuffledSampler`, each image ``views`` times in a row: augmented one by one, these are its
    views.

    Raises:
        ReidError: there are fewer images than a batch wants, so that one would come twice.
    """

    def __init__(self, images: int, size: int, views: int = 2, seed: int = 0) -> None:
        super().__init__(images, size, seed)
        if images < size:
            raise ReidError(
                f"{images} images are fewer than a batch of {size}: take a smaller batch, or more images"
            )
        self.views = views

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield [row for row in batch for _ in range(self.views)]


class DenseSampler(_Seeded):
    """An anchor, its nearest images by label, and random others: a batch for the log-ratio objective with
    ``anchors: first`` (Kim 2019, section 3.3). The anchor comes first.

    Args:
        labels: (N,) or (N, V) continuous labels.
        neighbours: nearest images by label in a batch.
        others: images drawn from the rest.
        seed: of all draws.
        batches: in an epoch; by default as many as show about N images.
    """

    def __init__(
        self,
        labels: Any,
        neighbours: int,
        others: int,
        seed: int = 0,
        batches: int | None = None,
    ) -> None:
        super().__init__(
            seed, neighbours=neighbours, others=others, batches=1 if batches is None else batches
        )
        self.labels: npt.NDArray[np.float64] = np.asarray(labels, dtype=np.float64).reshape(len(labels), -1)
        size = 1 + neighbours + others
        if len(self.labels) < size:
            raise ReidError(
                f"{len(self.labels)} images are fewer than a batch of {size}: take fewer neighbours or others"
            )
        self.neighbours, self.others = neighbours, others
        self.batches = math.ceil(len(self.labels) / size) if batches is None else batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.labels))
        rng = np.random.default_rng([self.seed, self.epoch, 0, 1])
        for step in range(len(self)):
            anchor = order[step % len(order)]
            distance = np.linalg.norm(self.labels - self.labels[anchor], axis=1)
            distance[anchor] = -1.0
            nearest = np.argsort(distance, kind="stable")
            rest = rng.choice(nearest[1 + self.neighbours :], size=self.others, replace=False)
            yield [int(row) for row in (*nearest[: 1 + self.neighbours], *rest)]
