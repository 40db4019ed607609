"""How far a probe is from a *person*: the policies that combine the references of one identity. Shared with
serving.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reid.errors import UsageError
from reid.evaluation.blocks import block_height
from reid.evaluation.checks import Labels, as_embeddings, as_labels, row_norms, same_width, unit_rows

__all__ = ["POLICIES", "Policy", "combine", "person_distance_blocks", "person_distances"]

Policy = Literal["min", "mean", "top_k"]
POLICIES: tuple[Policy, ...] = ("min", "mean", "top_k")


def person_distances(
    probes: npt.ArrayLike,
    references: npt.ArrayLike,
    reference_ids: Labels,
    policy: str = "min",
    top_k: int = 3,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Distance from every probe to every person of the references.

    Embeddings are divided by their L2 norm first, which leaves normalised ones as they are.

    Args:
        probes: (Q, D).
        references: (N, D).
        reference_ids: (N,) integers or strings.
        policy: ``min``, the distance to the nearest reference; ``mean``, the distance to the normalised mean
            of the person's references; ``top_k``, the mean of the ``top_k`` smallest distances (of all, where
            a person has fewer references).
        top_k: how many for ``top_k``.

    Returns:
        distances (Q, P) float32, Euclidean and not squared, in 0..2; people (P,), sorted.

    Raises:
        ReidError: embeddings are empty, not finite, all zero or of different dimension, labels have another
            length, or the mean of a person's references is zero.
        UsageError: the policy is unknown or ``top_k`` is below 1.
    """
    people, blocks = person_distance_blocks(probes, references, reference_ids, policy, top_k)
    result = np.empty((len(np.asarray(probes)), len(people)), dtype=np.float32)
    for start, block in blocks:
        result[start : start + len(block)] = block
    return result, people


def person_distance_blocks(
    probes: npt.ArrayLike,
    references: npt.ArrayLike,
    reference_ids: Labels,
    policy: str = "min",
    top_k: int = 3,
) -> tuple[npt.NDArray[Any], Iterator[tuple[int, npt.NDArray[np.float32]]]]:
    """As ``person_distances``, for who needs no table of all probes and all people at once; arguments and
    errors are the same.

    Returns:
        people (P,), sorted; blocks (number of the first probe, distances (n, P)) in the probes' order, each
            the caller's to change.
    """
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r} is unknown: want one of {', '.join(POLICIES)}")
    if top_k < 1:
        raise UsageError(f"top_k is {top_k}: want at least 1")
    rows, known = as_embeddings(probes, "probe"), as_embeddings(references, "reference")
    same_width(rows, "probe", known, "reference")
    ids = as_labels(reference_ids, "reference ids", len(known))
    rows, norms = unit_rows(rows, "probe"), row_norms(known, "reference")
    order = np.argsort(ids, kind="stable")
    people, starts = np.unique(ids[order], return_index=True)
    if policy == "mean":
        known = unit_rows(
            np.add.reduceat(known[order] / norms[order, None], starts, axis=0), "mean reference"
        )
        norms = np.ones(len(people), dtype=np.float32)
        order = np.arange(len(people))
        starts = np.arange(len(people))
    height = block_height(len(known))

    def blocks() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        for start in range(0, len(rows), height):
            # Scaling and sorting a block of products costs less than a normalised, sorted copy of a large
            # gallery.
            squared = rows[start : start + height] @ known.T
            squared *= -2 / norms
            squared += 2
            distances = np.sqrt(np.maximum(squared, 0, out=squared), out=squared)
            yield start, combine(np.take(distances, order, axis=1), starts, policy, top_k)

    return people, blocks()


def combine(
    figures: npt.NDArray[np.float32], starts: npt.NDArray[np.int64], policy: str, top_k: int
) -> npt.NDArray[np.float32]:
    """A figure (Q, P) of every person from those of their references.

    Args:
        figures: (Q, N), distances or scores, a person's beside each other.
        starts: (P,), each person's first column.
        policy: the smallest (``min``), the mean, or the mean of the ``top_k`` smallest. The distances of
            :func:`person_distances` are not combined by ``mean``: it takes the mean of the embeddings.
        top_k: how many for ``top_k``; all, where a person has fewer.
    """
    if len(starts) == figures.shape[1]:
        return figures
    if policy == "min":
        return np.minimum.reduceat(figures, starts, axis=1)
    counts = np.diff(np.append(starts, figures.shape[1]))
    result = np.empty((len(figures), len(starts)), dtype=np.float32)
    for count in np.unique(counts):
        alike = np.flatnonzero(counts == count)
        own = figures[:, starts[alike][:, None] + np.arange(count)]
        if policy == "top_k" and count > top_k:
            own = np.partition(own, top_k - 1, axis=2)[:, :, :top_k]
        result[:, alike] = own.mean(axis=2)
    return result
