"""A metric fitted to labelled embeddings: what the command, the stage and the benchmark call."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.checks import Labels, as_embeddings, as_labels, is_junk, unit_rows
from reid.linear_metric.fitted import FittedMetric
from reid.linear_metric.likelihood import all_pairs, cross_camera_pairs, likelihood_ratio
from reid.linear_metric.lmnn import lmnn
from reid.linear_metric.nystroem import nystroem_map

__all__ = ["METHODS", "Fit", "Method", "check_fit", "fit_metric"]

Method = Literal["kissme", "xqda", "lmnn"]
_LMNN_DIM = (
    128  # where none is asked for: its time grows with it, and what is held to be Euclid's hardly does
)
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted metric, the pictures and people that it stands on, and lines about how it came out."""

    metric: FittedMetric
    images: int
    people: int
    said: tuple[str, ...]


def fit_metric(
    embeddings: npt.ArrayLike,
    identities: Labels,
    cameras: Labels,
    method: Method,
    *,
    dim: int | None = None,
    shrinkage: float = 0.1,
    landmarks: int | None = None,
    gamma: float | None = None,
    seed: int = 0,
) -> Fit:
    """Fit ``M = L^T L`` to embeddings of known people. In memory of N x D and D x D numbers in float64.

    Args:
        embeddings: (N, D), of any length; L2-normalised first, as galleries hold them. Junk is left out.
        identities: (N,).
        cameras: (N,).
        method: ``kissme`` (all pairs of pictures), ``xqda`` (pairs of two cameras) or ``lmnn``.
        dim: rank of M and length of the new embeddings; None: all that tell people apart, of
            ``lmnn`` 128 at most.
        shrinkage: from 0 to 1; of ``kissme`` and ``xqda`` how far the covariance of one person's pictures is
            drawn to a ball, of ``lmnn`` how strongly L is held where it starts.
        landmarks: M, to fit on M features of a Gaussian kernel; None: on the embeddings.
        gamma: of that kernel; None: one by the median squared distance.
        seed: of the landmarks.

    Raises:
        UsageError: a value is out of range.
        ReidError: the embeddings are bad, or too few people, pictures or cameras are there.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r} is unknown: take one of {', '.join(METHODS)}")
    if not 0 <= shrinkage <= 1:
        raise UsageError(f"shrinkage is {shrinkage:g}: want 0 to 1")
    rows = unit_rows(as_embeddings(embeddings, "given"), "given").astype(np.float64)
    names, seen_by = (
        as_labels(values, what, len(rows))
        for values, what in ((identities, "identities"), (cameras, "cameras"))
    )
    kept = ~is_junk(names)
    rows, people, views = rows[kept], _codes(names[kept]), _codes(seen_by[kept])
    said = _check_people(people, views, method)
    mapped = None if landmarks is None else nystroem_map(rows, landmarks, gamma, seed)
    features = rows if mapped is None else mapped.features(rows)
    width = features.shape[1]
    _check_dim(dim, width, mapped is not None)
    centre = features.mean(0)
    features -= centre
    if method == "lmnn":
        matrix = lmnn(features, people, views, dim or min(width, _LMNN_DIM), shrinkage)
    else:
        pairs = (all_pairs if method == "kissme" else cross_camera_pairs)(features, people, views)
        if pairs[0][1] < width:
            said.append(
                f"{pairs[0][1]:,} pairs of one person for {width} dimensions: the shrinkage of {shrinkage:g} "
                "stands for what they do not show; more people make a better metric"
            )
        matrix = likelihood_ratio(pairs, shrinkage, dim)
        if dim is not None and len(matrix) < dim:
            said.append(f"{len(matrix)} directions tell people apart, not {dim}: they are the metric")
    bias = -matrix @ centre
    weight, marks = matrix, None
    if mapped is not None:
        weight, marks = matrix @ mapped.whitening.T, mapped.landmarks.astype(np.float32)
    metric = FittedMetric(
        weight.astype(np.float32),
        bias.astype(np.float32),
        marks,
        0.0 if mapped is None else float(np.float32(mapped.gamma)),
    )
    return Fit(metric, len(rows), int(people.max()) + 1, tuple(said))


def check_fit(
    identities: Labels, cameras: Labels, method: Method, *, dim: int | None, width: int, landmarks: int | None
) -> None:
    """What :func:`fit_metric` would refuse and can be seen before the first picture is embedded.

    Args:
        identities: (N,).
        cameras: (N,).
        method: as there.
        dim: as there.
        width: D, of the embeddings to come.
        landmarks: as there; the kernel's map may turn out narrower than they are many.

    Raises:
        UsageError: the rank is more than there will be numbers.
        ReidError: the method can learn nothing from these people.
    """
    names, seen_by = (
        as_labels(values, what, len(identities))
        for values, what in ((identities, "identities"), (cameras, "cameras"))
    )
    kept = ~is_junk(names)
    _check_people(_codes(names[kept]), _codes(seen_by[kept]), method)
    _check_dim(dim, width if landmarks is None else min(landmarks, int(kept.sum())), landmarks is not None)


def _check_dim(dim: int | None, width: int, kernel: bool) -> None:
    if dim is not None and not 1 <= dim <= width:
        what = "features of the kernel's map" if kernel else "numbers of the embedding"
        raise UsageError(f"dim is {dim}: want 1 to {width}, the {what}")


def _codes(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _check_people(people: npt.NDArray[np.int64], views: npt.NDArray[np.int64], method: str) -> list[str]:
    """What is said of the people.

    Raises:
        ReidError: the method can learn nothing from them.
    """
    sizes = np.bincount(people)
    if len(sizes) < 2:
        raise ReidError(f"the pictures show {len(sizes)} person: a metric needs people to tell apart")
    if sizes.max() < 2:
        raise ReidError("nobody has two pictures: a metric learns from pictures of one person")
    both = np.unique(np.stack([people, views]), axis=1)[0]
    if method == "xqda" and np.bincount(both).max() < 2:
        raise ReidError(
            "nobody is seen by two cameras, and xqda learns from pictures of one person in two: take kissme "
            "or lmnn, or give the camera in --pattern"
        )
    single = int((sizes == 1).sum())
    return (
        [f"{single:,} of {len(sizes):,} people have one picture: they count as strangers alone"]
        if single
        else []
    )
