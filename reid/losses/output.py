"""What every objective returns, and what every objective demands of a batch."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from reid.errors import ReidError
from reid.metric import host
from reid.metric.distances import pairwise_distances, widen
from reid.metric.mining import Groups, label_range

__all__ = ["LossOutput", "checked", "checked_classes", "mean_over", "pair_means", "split_means", "zero_of"]


class LossOutput(NamedTuple):
    """The value of an objective on one batch, with what is worth logging beside it.

    All fields are 0-d float tensors; only ``value`` carries a gradient. ``active_fraction`` is the share of
    the valid terms (anchors, triplets, pairs, samples) that still push. ``mean_positive`` and
    ``mean_negative`` are the mean distances of all pairs of the batch with equal and with different labels,
    in the objective's own metric; 0 where there is no such pair. ``extras`` holds what is particular to the
    objective: margins in force, levels of the tree in use.
    """

    value: Tensor
    active_fraction: Tensor
    mean_positive: Tensor
    mean_negative: Tensor
    extras: Mapping[str, Tensor] = MappingProxyType({})


def checked(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the embeddings in float32 or wider and the labels on the same device.

    Values on a GPU are not looked at, see :mod:`reid.metric.host`: there NaN goes into the value, where
    :func:`reid.training.loop.train` finds it.

    Raises:
        ReidError: the shapes do not fit, the batch is empty, or an embedding is not finite; the message names
            the rows of the batch.
    """
    if embeddings.ndim != 2 or labels.ndim == 0 or labels.shape[0] != embeddings.shape[0]:
        shapes = f"embeddings {tuple(embeddings.shape)} and labels {tuple(labels.shape)}"
        raise ReidError(f"{shapes} do not fit together: an objective takes (B, D) and one label a row")
    if not len(labels):
        raise ReidError("the batch is empty: an objective takes at least one row; check the sampler")
    # One sum is cheap and not finite whenever an element is; only then is it worth looking for the rows.
    embeddings = widen(embeddings)
    if host.is_near(embeddings) and not math.isfinite(float(embeddings.detach().sum())):
        rows = (~torch.isfinite(embeddings.detach()).all(1)).nonzero().flatten().tolist()
        if rows:
            shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
            raise ReidError(
                f"embeddings of batch rows {shown} ({len(rows)} of {len(embeddings)}) are NaN or infinite: "
                "lower the learning rate, clip the gradient, or look at those images"
            )
    return embeddings, labels.to(embeddings.device)


def checked_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Return ``labels`` as int64 class indices.

    Raises:
        ReidError: a label is outside 0..num_classes-1.
    """
    least, largest = label_range(labels) if len(labels) else (0, 0)
    if least < 0 or largest >= num_classes:
        bad = next(int(label) for label in labels if not 0 <= int(label) < num_classes)
        raise ReidError(
            f"label {bad} is no class index of 0..{num_classes - 1}: number the identities from 0"
        )
    return labels.long()


def zero_of(embeddings: Tensor) -> Tensor:
    """A 0-d zero that is still connected to the graph of ``embeddings``."""
    return (embeddings * 0).sum()


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask``; 0 where nothing is chosen. Same shapes."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


@torch.no_grad()
def pair_means(embeddings: Tensor, labels: Tensor, *, squared: bool = False) -> tuple[Tensor, Tensor]:
    """Mean distance of the pairs with equal labels (self excluded) and of those with different labels."""
    return split_means(pairwise_distances(embeddings, squared=squared), Groups.of(labels))


def split_means(matrix: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    """Mean entry of a (B, B) matrix of zero diagonal over the pairs with the same label, and over the others;
    0 where there are none.
    """
    positive, negative = max(1, groups.positive_pairs), max(1, groups.negative_pairs)
    within = torch.dot(matrix.flatten(), groups.same(matrix.dtype).flatten())
    return within / positive, (matrix.sum() - within) / negative
