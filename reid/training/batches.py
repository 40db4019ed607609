"""What a training reads: decoded images with their labels, and the batches drawn from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reid.config import TrainParams
from reid.data.sampling import HierarchicalSampler, PKSampler
from reid.data.transforms import Augmentation, augment, erase
from reid.metric.class_tree import ClassTree
from reid.models.embedder import normalise

__all__ = ["Batches", "HierarchicalPlan", "TrainingData", "augmented", "batches_of", "sampler_for"]


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
class HierarchicalPlan:
    """How the class tree is rebuilt each epoch and sampled: ``levels`` L and ``neighbours`` m of Ge 2018,
    section 4.
    """

    levels: int
    neighbours: int


class Batches(Protocol):
    """A sampler: one pass over the data as lists of row numbers."""

    def set_epoch(self, epoch: int) -> None:
        """Which pass comes next; what is drawn depends on it alone."""

    def __iter__(self) -> Iterator[list[int]]: ...


def sampler_for(
    data: TrainingData,
    settings: TrainParams,
    seed: int,
    *,
    tree: ClassTree | None = None,
    plan: HierarchicalPlan | None = None,
) -> Batches:
    """PK batches; with a class tree and its plan, batches of neighbouring classes (Ge 2018, section 4)."""
    if tree is None or plan is None:
        cameras = data.cameras if settings.camera_aware else None
        return PKSampler(data.labels, settings.identities, settings.images, seed=seed, cameras=cameras)
    neighbours = min(plan.neighbours, settings.identities)
    return HierarchicalSampler(
        tree,
        data.labels,
        classes=max(1, settings.identities // neighbours),
        neighbours=neighbours,
        images=settings.images,
        seed=seed,
    )


def batches_of(sampler: Batches, epoch: int) -> Iterator[list[int]]:
    """Batches without end, pass after pass.

    The passes are numbered from the epoch alone, so that an epoch can be run again: 65,536 for each.
    """
    number = epoch << 16
    while True:
        sampler.set_epoch(number)
        yield from sampler
        number += 1


def augmented(
    data: TrainingData, rows: npt.NDArray[np.int64], settings: TrainParams, generator: torch.Generator
) -> Tensor:
    """Normalised float32 images (B, 3, H, W) of these rows, augmented by chance from ``generator``."""
    how = Augmentation(settings.flip, settings.pad_crop, settings.erasing, settings.colour_jitter)
    pixels = augment(torch.from_numpy(data.images[rows]), how, generator)
    # Erasing comes after normalising, for it fills in 0, which only then is the mean colour.
    return erase(normalise(pixels), settings.erasing, generator)
