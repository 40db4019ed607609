"""What a training reads: decoded images with their labels, and the batches drawn from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reid.config import TrainParams
from reid.data.transforms import Augmentation, augment, erase
from reid.models.embedder import normalise

__all__ = ["Batches", "TrainingData", "augmented", "batches_of"]


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
    vectors: npt.NDArray[np.float64] | None = None  # (N, V) continuous labels, where the objective has some
    val_vectors: npt.NDArray[np.float64] | None = None


class Batches(Protocol):
    """A sampler: one pass over the data as lists of row numbers."""

    def set_epoch(self, epoch: int) -> None:
        """Which pass comes next; what is drawn depends on it alone."""

    def __iter__(self) -> Iterator[list[int]]: ...


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
    data: TrainingData,
    rows: npt.NDArray[np.int64],
    settings: TrainParams,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """Normalised float32 images (B, 3, H, W) of these rows on ``device``, augmented there by chance from
    ``generator``.
    """
    how = Augmentation(**settings.model_dump(include={field.name for field in fields(Augmentation)}))
    pixels = augment(_on(device, torch.from_numpy(data.images[rows])), how, generator)
    # Erasing comes after normalising, for it fills in 0, which only then is the mean colour.
    return erase(normalise(pixels), settings.erasing, generator)


def _on(device: torch.device, pixels: Tensor) -> Tensor:
    """``pixels`` on the device. To a GPU they go as bytes, a quarter of what floats would be, and on a stream
    of their own: the copy does not wait until the GPU is done with the batch before.
    """
    if device.type != "cuda":
        return pixels
    copying, calculating = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copying):
        there = pixels.pin_memory().to(device, non_blocking=True)
    calculating.wait_stream(copying)
    # The memory is the copying stream's: it must not be given away while the other one still reads it.
    there.record_stream(calculating)
    return there


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
