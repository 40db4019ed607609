"""Embeddings as all of serving takes them, and those of a tracklet pooled. NumPy, no torch."""

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError

__all__ = ["check_dim", "check_embeddings", "cosines", "pool"]

_NORM_TOLERANCE = 1e-3


def check_embeddings(embeddings: npt.ArrayLike, dim: int | None) -> npt.NDArray[np.float32]:
    """Return embeddings as (N, D) little-endian float32.

    Raises:
        ReidError: the shape is wrong, or a row is not finite or not of norm 1; the message names the row.
    """
    matrix = np.ascontiguousarray(embeddings, dtype="<f4")
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ReidError(f"embeddings have shape {matrix.shape}: want (N, D), one row an image")
    check_dim(matrix, dim)
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms))
    if bad.size:
        raise ReidError(f"embedding in row {bad[0]} holds NaN or infinity: embed that image again")
    bad = np.flatnonzero(np.abs(norms - 1) > _NORM_TOLERANCE)
    if bad.size:
        raise ReidError(
            f"embedding in row {bad[0]} has norm {norms[bad[0]]:.4g}: want L2-normalised rows of norm 1"
        )
    return matrix


def check_dim(matrix: npt.NDArray[np.float32], dim: int | None) -> None:
    """Check the length of embeddings; None allows any.

    Raises:
        ReidError: it is another one.
    """
    if dim is not None and matrix.shape[1] != dim:
        raise ReidError(
            f"embeddings have {matrix.shape[1]} numbers a row but the gallery's have {dim}: use the "
            "gallery's own model"
        )


def cosines(ours: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """``(N,)``, of each row of ``(N, D)`` to the same row of the other; -1 for one without a direction, of
    zeros or not finite, which agrees with nothing.
    """
    a, b = ours.astype(np.float64), wanted.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.einsum("nd,nd->n", a, b) / norms
    return np.where(np.isfinite(found), np.clip(found, -1.0, 1.0), -1.0)


def pool(embeddings: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> npt.NDArray[np.float32]:
    """One embedding for a tracklet: the weighted mean of its images' embeddings, L2-normalised.

    Args:
        embeddings: (N, D) L2-normalised, N >= 1.
        weights: (N,) at least 0, such as each crop's quality; equal where None.

    Returns:
        (D,) float32 of norm 1.

    Raises:
        ReidError: there is no embedding, a weight is negative or not finite, all are 0, or the mean is zero.
    """
    rows = check_embeddings(embeddings, None)
    if not len(rows):
        raise ReidError("a tracklet without an embedding cannot be pooled: leave it out")
    shares = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (len(rows),) or not np.isfinite(shares).all() or (shares < 0).any():
        raise ReidError(
            f"weights {shares.tolist()} do not fit {len(rows)} embeddings: give one finite number of 0 "
            "or more for each"
        )
    mean = shares @ rows.astype(np.float64)
    norm = float(np.linalg.norm(mean))
    if norm < 1e-6 * max(1.0, float(shares.sum())):
        raise ReidError(
            "the weighted mean of a tracklet's embeddings is zero: give at least one a weight, and "
            "drop opposite ones"
        )
    return (mean / norm).astype(np.float32)
