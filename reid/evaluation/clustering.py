"""Jobs without a gallery: group embeddings, and compare the groups with the truth. SciPy is loaded on use."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.checks import Labels, as_embeddings, as_labels, unit_rows

__all__ = ["ClusteringReport", "cluster_by_threshold", "score_clusters"]

_MOST_IMAGES = 20_000  # their pairwise distances take 1.6 GB
_BLOCK = 256  # rows whose products with all others are held at once
_CLOSE = 1e-6  # squared, of unit rows: below it the products have lost ten digits of the distance


@dataclass(frozen=True)
class ClusteringReport:
    """How well groups agree with identities; all figures in 0..1."""

    nmi: float  # mutual information over the mean of both entropies
    pairwise_precision: float  # share of the pairs put together that belong together
    pairwise_recall: float  # share of the pairs that belong together that were put together
    pairwise_f1: float
    bcubed_precision: float  # mean over images: share of its group that is its identity (Bagga 1998)
    bcubed_recall: float  # mean over images: share of its identity that is in its group
    bcubed_f1: float
    images: int
    identities: int
    clusters: int

    def summary(self) -> dict[str, float | int]:
        """The figures as plain values, ready for a metrics file."""
        return asdict(self)


def score_clusters(identities: Labels, clusters: Labels) -> ClusteringReport:
    """Compare clusters with identities, from the counts of their contingency table.

    Args:
        identities: (N,) the truth.
        clusters: (N,) any names.

    Raises:
        ReidError: there is no image, lengths differ, or the truth has no two images of one identity.
    """
    count = np.size(identities)
    if not count:
        raise ReidError("there are no images to score clusters on: give at least two of one identity")
    truth, found = as_labels(identities, "identities", count), as_labels(clusters, "clusters", count)
    true_codes, found_codes = (
        np.unique(truth, return_inverse=True)[1],
        np.unique(found, return_inverse=True)[1],
    )
    true_sizes, found_sizes = np.bincount(true_codes), np.bincount(found_codes)
    if true_sizes.max() < 2:
        raise ReidError(
            f"each of the {len(truth)} images is alone with its identity: no pair could be put "
            "together rightly"
        )
    cells, joint = np.unique(np.stack([true_codes, found_codes]), axis=1, return_counts=True)
    rows, columns = true_sizes[cells[0]], found_sizes[cells[1]]
    right, together, belonging = _pairs(joint), _pairs(found_sizes), _pairs(true_sizes)
    # With nothing put together nothing was put together wrongly, but no pair was found: precision 0, as F1
    # then is.
    precision, recall = right / together if together else 0.0, right / belonging
    bcubed_precision, bcubed_recall = (
        float((joint * joint / sizes).sum() / len(truth)) for sizes in (columns, rows)
    )
    return ClusteringReport(
        nmi=_nmi(joint, rows, columns, true_sizes, found_sizes),
        pairwise_precision=precision,
        pairwise_recall=recall,
        pairwise_f1=_f1(precision, recall),
        bcubed_precision=bcubed_precision,
        bcubed_recall=bcubed_recall,
        bcubed_f1=_f1(bcubed_precision, bcubed_recall),
        images=len(truth),
        identities=len(true_sizes),
        clusters=len(found_sizes),
    )


def cluster_by_threshold(embeddings: npt.ArrayLike, distance: float) -> npt.NDArray[np.int64]:
    """Group embeddings by average linkage, merging until the mean distance between groups exceeds
    ``distance``.

    Args:
        embeddings: (N, D); divided by their norm first. N up to 20,000.
        distance: Euclidean, not squared, in 0..2, as a calibrated threshold is.

    Returns:
        (N,) cluster numbers from 0.

    Raises:
        ReidError: bad embeddings, or more images than fit in memory.
        UsageError: the distance is negative.
    """
    if not distance >= 0:
        raise UsageError(f"clustering distance {distance}: want 0 or more")
    rows = unit_rows(as_embeddings(embeddings, "image"), "image")
    if len(rows) > _MOST_IMAGES:
        raise ReidError(
            f"{len(rows)} images are too many to cluster at once: want at most {_MOST_IMAGES}, such as "
            "one row per tracklet"
        )
    if len(rows) == 1:
        return np.zeros(1, dtype=np.int64)
    from scipy.cluster import hierarchy

    tree = hierarchy.linkage(_between_all(rows.astype(np.float64)), method="average")
    numbers = hierarchy.fcluster(tree, distance, criterion="distance")
    return np.asarray(numbers, dtype=np.int64) - 1


def _between_all(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean distances of every two rows (N, D) in SciPy's condensed order, (N (N - 1) / 2,), as its
    ``pdist`` finds them in many times the time.
    """
    norms, count = np.einsum("ij,ij->i", rows, rows), len(rows)
    found, end = np.empty(count * (count - 1) // 2), 0
    for start in range(0, count, _BLOCK):
        products = rows[start : start + _BLOCK] @ rows[start:].T
        for row in range(start, min(start + _BLOCK, count)):
            line = norms[row] + norms[row + 1 :] - 2 * products[row - start, row + 1 - start :]
            # A difference of nearly equal numbers has lost its digits: equal rows must be 0 apart.
            close = np.flatnonzero(line < _CLOSE)
            line[close] = np.square(rows[row] - rows[row + 1 + close]).sum(1)
            found[end : end + len(line)] = line
            end += len(line)
    return np.sqrt(found, out=found)


def _pairs(sizes: npt.NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _nmi(
    joint: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    true_sizes: npt.NDArray[np.int64],
    found_sizes: npt.NDArray[np.int64],
) -> float:
    total = joint.sum()
    entropies = [-float((sizes / total * np.log(sizes / total)).sum()) for sizes in (true_sizes, found_sizes)]
    if len(true_sizes) == len(found_sizes) == 1:
        return 1.0
    mutual = float((joint / total * np.log(joint * total / (rows * columns))).sum())
    return max(0.0, mutual) / (sum(entropies) / 2)
