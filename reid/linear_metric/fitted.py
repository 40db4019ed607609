"""A fitted metric applied to embeddings: what an exported graph computes behind the old embedding."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from reid.errors import ReidError
from reid.evaluation.checks import as_embeddings, unit_rows
from reid.files import atomic_path, existing

__all__ = ["FITTED_METRIC_NAME", "FittedMetric", "load_fitted_metric", "rbf"]

FITTED_METRIC_NAME = "metric.safetensors"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FittedMetric:
    """``z = L (f(x) - c)``, L2-normalised, of an embedding ``x`` of norm 1.

    The Euclidean distance of two such rows is that of directions from the centre ``c`` as the Mahalanobis
    metric ``M = L^T L`` measures angles: ``|z - z'|^2 = 2 - 2 <x - c, x' - c>_M / (|x - c|_M |x' - c|_M)``.
    It lies in 0..2 as before, so that galleries, indices, policies and thresholds need to know nothing of it.

    Attributes:
        weight: L, (R, F) float32.
        bias: -L c, (R,) float32.
        landmarks: (F, D) float32 of norm 1: ``f`` is ``exp(-gamma |x - landmark|^2)`` for each of them, and
            ``weight`` holds the rest of the Nystroem map too. None: ``f(x) = x`` and F = D.
        gamma: of the kernel; 0 without one.
    """

    weight: Floats
    bias: Floats
    landmarks: Floats | None = None
    gamma: float = 0.0

    @property
    def dim(self) -> int:
        """R, of the rows that come out."""
        return len(self.weight)

    @property
    def input_dim(self) -> int:
        """D, of the embeddings that go in."""
        return int(self.weight.shape[1] if self.landmarks is None else self.landmarks.shape[1])

    def apply(self, embeddings: npt.ArrayLike) -> Floats:
        """Rows (N, R) float32 of norm 1, of embeddings (N, D) of any length.

        Raises:
            ReidError: embeddings of another dimension, or ones that are not finite or all zeros.
        """
        rows = unit_rows(as_embeddings(embeddings, "given"), "given")
        if rows.shape[1] != self.input_dim:
            raise ReidError(
                f"embeddings of {rows.shape[1]} numbers for a metric fitted to {self.input_dim}: take the "
                "model that it was fitted to"
            )
        if self.landmarks is not None:
            rows = rbf(rows, self.landmarks, self.gamma).astype(np.float32)
        return unit_rows(rows @ self.weight.T + self.bias, "fitted")

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """What the file holds, by name."""
        found = {"weight": self.weight, "bias": self.bias}
        if self.landmarks is not None:
            found |= {"landmarks": self.landmarks, "gamma": np.array([self.gamma], np.float32)}
        return {name: np.ascontiguousarray(value) for name, value in found.items()}

    def to_bytes(self) -> bytes:
        """The content of its file; equal metrics give equal bytes."""
        return save(self.tensors())

    def save(self, path: Path | str) -> None:
        """Write it as safetensors, whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.to_bytes())


def rbf(
    rows: npt.NDArray[np.floating], landmarks: npt.NDArray[np.floating], gamma: float
) -> npt.NDArray[np.floating]:
    """``exp(-gamma |x - z|^2)`` (N, M) of rows (N, D) and landmarks (M, D), all of norm 1.

    Of unit rows the squared distance is ``2 - 2 x.z``: a product and an exponential, as the exported graph
    has them.
    """
    return np.exp(2 * gamma * (rows @ landmarks.T) - 2 * gamma)


def load_fitted_metric(path: Path | str) -> FittedMetric:
    """Read what :meth:`FittedMetric.save` wrote.

    Raises:
        UsageError: the file does not exist.
        ReidError: it is no fitted metric, or not a finite one.
    """
    path = existing(path, "fitted metric")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ReidError(f"fitted metric {path} cannot be read ({error}): fit it again") from error
    weight, bias, marks, gamma = map(tensors.get, ("weight", "bias", "landmarks", "gamma"))
    right = (
        weight is not None
        and bias is not None
        and weight.ndim == 2
        and bias.shape == weight.shape[:1]
        and (marks is None) == (gamma is None)
        and (marks is None or (marks.ndim == 2 and len(marks) == weight.shape[1]))
        and all(np.isfinite(tensor).all() for tensor in tensors.values())
    )
    if not right or weight is None or bias is None:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        raise ReidError(f"fitted metric {path} holds {shapes}: want finite weight and bias; fit it again")
    return FittedMetric(weight, bias, marks, 0.0 if gamma is None else float(gamma[0]))
