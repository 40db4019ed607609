"""What every figure asks of its input before it is computed: finite embeddings, labels of the right length,
one kind of label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError

__all__ = [
    "JUNK",
    "Labels",
    "Metric",
    "Sides",
    "as_embeddings",
    "as_labels",
    "encode",
    "for_metric",
    "is_junk",
    "query_and_gallery",
    "row_norms",
    "same_width",
    "sides_of",
    "unit_rows",
]

Metric = Literal["euclidean", "cosine"]
Labels = Sequence[int] | Sequence[str] | npt.NDArray[Any]

JUNK = "-1"  # the identity that Market-1501 and its kin give to boxes nobody should be judged by
_LARGEST_SQUARED_NORM = 1e37  # beyond it a squared distance can overflow float32


def as_embeddings(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float32]:
    """Return ``values`` as a contiguous float32 matrix (N, D).

    Raises:
        ReidError: it is not a matrix, has no row or no column, or a row holds NaN, infinity or a value too
            large for float32.
    """
    matrix = np.asarray(values)
    if matrix.ndim != 2:
        raise ReidError(f"{name} embeddings have shape {matrix.shape}: want a matrix of one row per image")
    if matrix.shape[0] == 0 or matrix.shape[1] == 0:
        raise ReidError(
            f"{name} embeddings are empty (shape {matrix.shape}): there is nothing to compute a figure from"
        )
    if matrix.dtype.kind not in "fiu":
        raise ReidError(f"{name} embeddings have type {matrix.dtype}: want real numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.ascontiguousarray(matrix, dtype=np.float32)
        squared_norms = np.einsum("ij,ij->i", single, single)
        usable = squared_norms <= _LARGEST_SQUARED_NORM
    if not usable.all():
        bad = np.flatnonzero(~usable)
        finite = np.isfinite(single[bad]).all(axis=1)
        what = "NaN or infinity" if not finite.all() else "values too large for float32 distances"
        raise ReidError(
            f"{name} embeddings hold {what} in {len(bad)} of {len(single)} rows (first: {bad[0]}): "
            "embed these images again"
        )
    return single


def same_width(
    first: npt.NDArray[np.float32], first_name: str, second: npt.NDArray[np.float32], second_name: str
) -> None:
    """Check that two matrices hold embeddings of one dimension.

    Raises:
        ReidError: they do not.
    """
    if first.shape[1] != second.shape[1]:
        raise ReidError(
            f"{first_name} embeddings have {first.shape[1]} dimensions and {second_name} embeddings "
            f"{second.shape[1]}: "
            "embed both with the same model"
        )


def query_and_gallery(
    query: npt.ArrayLike, gallery: npt.ArrayLike
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Both as :func:`as_embeddings`, of one dimension.

    Raises:
        ReidError: they are not, or embeddings are bad.
    """
    first, second = as_embeddings(query, "query"), as_embeddings(gallery, "gallery")
    same_width(first, "query", second, "gallery")
    return first, second


def row_norms(matrix: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
    """The Euclidean norm of every row.

    Raises:
        ReidError: a row is all zeros, which has no direction.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    if not norms.all():
        zero = np.flatnonzero(norms == 0)
        raise ReidError(
            f"{name} embeddings are all zero in {len(zero)} of {len(matrix)} rows (first: {zero[0]}): "
            "they have no direction"
        )
    return norms


def unit_rows(matrix: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
    """Divide every row by its Euclidean norm.

    Raises:
        ReidError: a row is all zeros, which has no direction.
    """
    return matrix / row_norms(matrix, name)[:, None]


def for_metric(matrix: npt.NDArray[np.float32], name: str, metric: str) -> npt.NDArray[np.float32]:
    """Prepare rows so that ``metric`` orders pairs as the Euclidean distance between prepared rows does.

    Raises:
        UsageError: the metric is unknown.
        ReidError: the metric is ``cosine`` and a row is all zeros.
    """
    if metric == "euclidean":
        return matrix
    if metric == "cosine":
        return unit_rows(matrix, name)
    raise UsageError(f"metric {metric!r} is unknown: want euclidean or cosine")


def as_labels(values: Labels, name: str, length: int) -> npt.NDArray[Any]:
    """Return labels as a vector of integers or of strings.

    Raises:
        ReidError: the length differs from ``length``, or the labels are neither integers nor strings.
    """
    labels = np.asarray(values)
    if labels.ndim != 1 or len(labels) != length:
        raise ReidError(
            f"{name} have shape {labels.shape} but there are {length} embeddings: give one label per "
            "embedding"
        )
    if labels.dtype.kind == "O":
        labels = labels.astype(np.str_)
    if labels.dtype.kind not in "iuU":
        raise ReidError(f"{name} have type {labels.dtype}: want integers or strings")
    return labels


def encode(
    first: npt.NDArray[Any], second: npt.NDArray[Any], name: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Replace labels by small integers that are equal exactly where the labels are.

    Raises:
        ReidError: one side has integers and the other strings, so that '0002' and 2 would silently differ.
    """
    if (first.dtype.kind == "U") != (second.dtype.kind == "U"):
        raise ReidError(f"{name} are strings on one side and integers on the other: write both the same way")
    codes = np.unique(np.concatenate([first, second]), return_inverse=True)[1].astype(np.int64)
    return codes[: len(first)], codes[len(first) :]


@dataclass(frozen=True, eq=False)
class Sides:
    """Who and by which camera the queries (Q,) and the images of the gallery (G,) are: ``ids`` and ``cams``
    are the same as codes of :func:`encode`, (Q,) and (G,).
    """

    query_ids: npt.NDArray[Any]
    query_cams: npt.NDArray[Any]
    gallery_ids: npt.NDArray[Any]
    gallery_cams: npt.NDArray[Any]
    ids: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    cams: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def sides_of(
    query_ids: Labels,
    query_cams: Labels,
    gallery_ids: Labels,
    gallery_cams: Labels,
    queries: int | None = None,
    images: int | None = None,
) -> Sides:
    """Check the labels of ``queries`` and ``images``; of as many as there are identities where not given.

    Raises:
        ReidError: labels have different lengths or kinds.
    """
    own = as_labels(query_ids, "query ids", np.size(query_ids) if queries is None else queries)
    theirs = as_labels(gallery_ids, "gallery ids", np.size(gallery_ids) if images is None else images)
    own_cams = as_labels(query_cams, "query cameras", len(own))
    their_cams = as_labels(gallery_cams, "gallery cameras", len(theirs))
    ids = encode(own, theirs, "identities")
    cams = encode(own_cams, their_cams, "cameras")
    return Sides(own, own_cams, theirs, their_cams, ids, cams)


def is_junk(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which labels are the junk identity, -1 or '-1'."""
    if labels.dtype.kind == "U":
        return labels == JUNK
    return labels == int(JUNK) if labels.dtype.kind == "i" else np.zeros(len(labels), dtype=np.bool_)
