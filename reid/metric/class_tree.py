"""The hierarchy of classes of the hierarchical triplet objective (Ge 2018, section 4.1). Torch-free.

Embeddings lie on the unit sphere and distances are squared Euclidean, at most 4. The mean distance of two
classes needs only their means, so a tree over C classes costs O(N D + C^2 D) and never holds an N x N matrix.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.sparse import csr_matrix
from scipy.spatial.distance import squareform

from reid.errors import ReidError, UsageError
from reid.files import atomic_path, existing

__all__ = ["ClassTree"]

_MAX_DISTANCE_SQ = 4.0
_BLOCK = 4096
_FIELDS = ("classes", "counts", "means", "intra_class", "thresholds", "linkage")


@dataclass(frozen=True, eq=False)
class ClassTree:
    """Which classes lie close, at L + 1 levels. Classes are named by their index 0..C-1 in ``classes``.

    Attributes:
        classes: (C,) int64, the sorted unique labels.
        counts: (C,) int64, images per class.
        means: (C, D) float64, mean of the L2-normalised embeddings of each class.
        intra_class: (C,) float64, mean squared distance of two images of the class; for a class of one image,
            the mean of the others.
        thresholds: (L + 1,) float64, ``d_l = l (4 - d_0) / L + d_0`` with d_0 the mean intra-class distance.
        linkage: (C - 1, 4) float64, average linkage as ``scipy.cluster.hierarchy`` writes it.
    """

    classes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    intra_class: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    linkage: npt.NDArray[np.float64]

    @classmethod
    def from_embeddings(cls, embeddings: Any, labels: Any, levels: int = 16) -> "ClassTree":
        """Build the tree from embeddings (N, D) and integer labels (N,), NumPy or torch; embeddings are
        L2-normalised here.

        >>> rows = [[1.0, 0.0], [1.0, 0.1], [0.9, 0.2], [0.9, 0.3], [0.0, 1.0], [0.1, 1.0]]
        >>> tree = ClassTree.from_embeddings(rows, [0, 0, 1, 1, 2, 2], levels=4)
        >>> bool(tree.merge_level(0, 1) < tree.merge_level(0, 2))
        True

        Raises:
            UsageError: ``levels`` is less than 1.
            ReidError: shapes that do not fit, no row, or a row that is not finite.
        """
        if levels < 1:
            raise UsageError(f"levels is {levels}: a class tree has at least 1")
        embeddings, labels = _as_array(embeddings), _as_array(labels)
        if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or not len(labels):
            raise ReidError(
                f"embeddings {embeddings.shape} and labels {labels.shape}: a class tree takes (N, D) "
                "and (N,) with N > 0"
            )
        classes, index, counts = np.unique(labels.astype(np.int64), return_inverse=True, return_counts=True)
        means = _class_means(embeddings, index, counts)
        intra = _intra_class(means, counts)
        # Only classes of two images and more have a distance inside; the others take the mean of these.
        d_0 = float(intra[counts > 1].mean()) if (counts > 1).any() else 0.0
        intra = np.where(counts > 1, intra, d_0)
        thresholds = np.arange(levels + 1) * (_MAX_DISTANCE_SQ - d_0) / levels + d_0
        tree = np.zeros((0, 4))
        if len(classes) > 1:
            tree = linkage(squareform(_distances(means), checks=False), method="average")
        return cls(classes, counts.astype(np.int64), means, intra, thresholds, tree)

    @property
    def levels(self) -> int:
        """L, the number of levels above the leaves."""
        return len(self.thresholds) - 1

    @cached_property
    def class_distances(self) -> npt.NDArray[np.float64]:
        """(C, C) mean squared distance of the images of one class to those of another; zero on the
        diagonal.
        """
        return _distances(self.means)

    @cached_property
    def merge_levels(self) -> npt.NDArray[np.int64]:
        """(C, C) level at which two classes first lie in one node; 0 on the diagonal."""
        if len(self.classes) < 2:
            return np.zeros((1, 1), dtype=np.int64)
        # Nodes *closer* than the threshold merge; the top level is one node whatever the distance.
        level = np.searchsorted(self.thresholds, cophenet(self.linkage), side="right")
        return squareform(np.minimum(level, self.levels)).astype(np.int64)

    def merge_level(self, p: Any, q: Any) -> Any:
        """Level 0..L at which classes ``p`` and ``q`` (indices) merge: an int for two ints, else an array or
        tensor of their broadcast.
        """
        level = self.merge_levels[_as_array(p), _as_array(q)]
        for given in (p, q):
            if hasattr(given, "new_tensor"):
                return given.new_tensor(level)
        return int(level) if np.ndim(level) == 0 else level

    def nearest(self, class_: int, m: int) -> npt.NDArray[np.int64]:
        """The ``m`` other classes nearest to ``class_`` at level 0, nearest first; fewer where there are
        fewer. All are indices.
        """
        distances = self.class_distances[class_].copy()
        distances[class_] = np.inf
        order = np.argsort(distances, kind="stable")
        return order[: min(m, len(self.classes) - 1)].astype(np.int64)

    def save(self, path: Path | str) -> None:
        """Write the tree to an ``.npz`` file, whole or not at all."""
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **{name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def load(cls, path: Path | str) -> "ClassTree":
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file does not exist.
            ReidError: it is not a class tree.
        """
        path = existing(path, "class tree")
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(**{name: stored[name] for name in _FIELDS})
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ReidError(f"class tree {path} cannot be read ({error}): build it again") from error


def _as_array(values: Any) -> npt.NDArray[Any]:
    """NumPy view of an array, list, number, or torch tensor on any device."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _class_means(
    embeddings: npt.NDArray[Any], index: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    sums = np.zeros((len(counts), embeddings.shape[1]))
    for start in range(0, len(embeddings), _BLOCK):
        rows = embeddings[start : start + _BLOCK].astype(np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            bad = start + int(np.flatnonzero(~np.isfinite(norms))[0])
            raise ReidError(
                f"embedding {bad} is NaN or infinite: a class tree needs finite embeddings; look at "
                "the model and that image"
            )
        rows /= np.maximum(norms, 1e-12)
        columns = np.arange(len(rows))
        sums += (
            csr_matrix(
                (np.ones(len(rows)), (index[start : start + _BLOCK], columns)), shape=(len(counts), len(rows))
            )
            @ rows
        )
    return sums / counts[:, None]


def _intra_class(means: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean over the ordered pairs of different images: 2 n (1 - |mu|^2) / (n - 1)."""
    spread = np.maximum(1.0 - (means * means).sum(1), 0.0)
    return 2.0 * counts * spread / np.maximum(counts - 1, 1)


def _distances(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    matrix = np.clip(2.0 - 2.0 * means @ means.T, 0.0, _MAX_DISTANCE_SQ)
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 0.0)
    return matrix
