"""KISSME and XQDA: is the difference of two embeddings that of one person, or of two? A ratio of likelihoods.

Both take the differences of pairs as Gaussian with mean 0, covariance ``A`` for pairs of one person and ``B``
for pairs of two; the log of the ratio is the squared distance of ``M = A^-1 - B^-1`` but for a constant
(Koestinger et al. 2012, equations 8 to 11; Liao et al. 2015, equations 3 to 8).
"""

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse

from reid.errors import ReidError

__all__ = ["Pairs", "all_pairs", "cross_camera_pairs", "likelihood_ratio", "shrunk"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Pairs = tuple[tuple[Floats, int], tuple[Floats, int]]
"""Sums (D, D) of ``(x - y)(x - y)^T`` over pairs of one person and over pairs of two, and how many."""


def all_pairs(rows: Floats, people: Codes, cameras: Codes) -> Pairs:
    """Of KISSME: every two pictures, whatever their cameras."""
    same = _within(rows, people)
    return same, _less(_within(rows, np.zeros_like(people)), same)


def cross_camera_pairs(rows: Floats, people: Codes, cameras: Codes) -> Pairs:
    """Of XQDA: every two pictures of two cameras, of however many there are."""
    both = people * (cameras.max() + 1) + cameras
    same = _less(_within(rows, people), _within(rows, both))
    return same, _less(_less(_within(rows, np.zeros_like(people)), _within(rows, cameras)), same)


def _within(rows: Floats, groups: Codes) -> tuple[Floats, int]:
    """The sum over all pairs within each group, and how many pairs: no pair is ever laid out.

    Of n rows, ``sum_{i<j} (x_i - x_j)(x_i - x_j)^T = n sum_i x_i x_i^T - s s^T`` with s their sum.
    """
    codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    ones = np.ones(len(rows))
    sums = scipy.sparse.csr_matrix((ones, (codes, np.arange(len(rows)))), (len(sizes), len(rows))) @ rows
    return (rows * sizes[codes, None]).T @ rows - sums.T @ sums, int((sizes * (sizes - 1) // 2).sum())


def _less(whole: tuple[Floats, int], part: tuple[Floats, int]) -> tuple[Floats, int]:
    return whole[0] - part[0], whole[1] - part[1]


def shrunk(covariance: Floats, shrinkage: float) -> Floats:
    """``(1 - s) A + s tr(A) / D I``: what the pairs do not show differs by as much as the mean of what they
    do (Ledoit and Wolf 2004, equation 14, the share given and not estimated).
    """
    dim = len(covariance)
    return (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / dim * np.eye(dim)


def likelihood_ratio(pairs: Pairs, shrinkage: float, dim: int | None) -> Floats:
    """L (R, D) with ``M = L^T L``: the part of ``A^-1 - B^-1`` that is positive where distances are measured
    by A, the R = ``dim`` strongest directions of it, or all.

    The generalised eigenvectors ``B v = lambda A v``, with ``v^T A v = 1``, make both matrices diagonal, so
    that ``A^-1 - B^-1 = sum (1 - 1 / lambda) v v^T``. The terms with lambda > 1, which tell people apart, are
    kept: M is positive semi-definite by construction, and is the nearest such matrix in the norm
    ``|A^1/2 (.) A^1/2|``. XQDA's subspace is spanned by the same vectors. KISSME's authors cut the spectrum
    of M itself, which depends on the axes that the embedding happens to have; this does not: an invertible
    linear map of the embeddings changes no distance (but for the shrinkage).

    Raises:
        ReidError: the pairs of one person do not span all dimensions and nothing is shrunk, or no direction
            tells people apart.
    """
    (same, same_pairs), (different, different_pairs) = pairs
    within = shrunk(same / same_pairs, shrinkage)
    try:
        ratios, vectors = scipy.linalg.eigh(different / different_pairs, within)
    except np.linalg.LinAlgError as error:
        raise ReidError(
            f"the pictures of one person differ in fewer than the {len(within)} dimensions of the embedding, "
            "so their covariance cannot be inverted: set a shrinkage above 0, such as 0.1, or fit on more "
            "people"
        ) from error
    order = np.argsort(-ratios)[:dim]
    order = order[ratios[order] > 1]
    if not len(order):
        raise ReidError(
            "pictures of one person differ as much as those of two in every direction: check the identities, "
            "no metric can tell these people apart"
        )
    return np.sqrt(1 - 1 / ratios[order])[:, None] * vectors[:, order].T
