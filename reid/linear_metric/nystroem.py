"""Nystroem's map: explicit features whose products are nearly a kernel's values (Williams and Seeger
2001).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.cluster.vq
import scipy.linalg

from reid.linear_metric.fitted import rbf

__all__ = ["NystroemMap", "nystroem_map"]

Floats = npt.NDArray[np.float64]
# Of the greatest eigenvalue. Smaller ones are left out: their inverse roots would be weights of a thousand
# and more, whose products cancel in the float32 of an exported graph.
_LEAST_EIGENVALUE = 1e-5
_ITERATIONS = 10


@dataclass(frozen=True, eq=False)
class NystroemMap:
    """``phi(x) = whitening^T k(x, landmarks)``; ``phi(x).phi(y)`` is nearly ``k(x, y)``.

    Attributes:
        landmarks: (M, D) of norm 1.
        gamma: of ``k(x, z) = exp(-gamma |x - z|^2)``.
        whitening: (M, F): the inverse root of the landmarks' kernel matrix, in its eigenvectors.
    """

    landmarks: Floats
    gamma: float
    whitening: Floats

    def features(self, rows: Floats) -> Floats:
        """(N, F) of rows (N, D) of norm 1."""
        return np.asarray(rbf(rows, self.landmarks, self.gamma) @ self.whitening)


def nystroem_map(rows: Floats, landmarks: int, gamma: float | None, seed: int) -> NystroemMap:
    """The map with the centres of a k-means clustering as landmarks (Zhang et al. 2008), which stand for more
    than drawn rows do and are, but for a cluster of one, nobody's own embedding.

    Args:
        rows: (N, D) of norm 1.
        landmarks: at most so many; empty clusters are dropped.
        gamma: of the kernel; None: one by the median squared distance of two rows.
        seed: of the clustering.
    """
    rng = np.random.default_rng(seed)
    if gamma is None:
        first, second = rng.integers(0, len(rows), (2, 10_000))
        squared = 2 - 2 * np.einsum("ij,ij->i", rows[first], rows[second])
        gamma = 1 / float(np.median(squared[first != second]))
    count = min(landmarks, len(rows))
    start = rows[np.sort(rng.choice(len(rows), count, replace=False))]
    centres, labels = scipy.cluster.vq.kmeans2(rows, start, _ITERATIONS, minit="matrix", missing="warn")
    centres = centres[np.unique(labels)]
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    values, vectors = scipy.linalg.eigh(rbf(centres, centres, gamma))
    kept = values > _LEAST_EIGENVALUE * values[-1]
    return NystroemMap(centres, gamma, vectors[:, kept] / np.sqrt(values[kept]))
