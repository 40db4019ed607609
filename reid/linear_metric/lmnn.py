"""LMNN, the large margin nearest neighbour metric (Weinberger and Saul 2009), over L itself, so that
``M = L^T L`` is positive semi-definite by construction and of low rank where asked for (their section 5.1).

The library with an LMNN, metric-learn, does not work with scikit-learn from 1.8 on in its last release
(0.7.0, 2023), lays out all triplets, and knows no cameras; so it is written out here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.sparse

from reid.errors import ReidError

__all__ = ["Triplets", "find_impostors", "find_targets", "lmnn", "loss_and_gradient"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
_BLOCK_BYTES = 128 << 20  # of distances held at a time
_MOST_IMPOSTORS = 10  # of an anchor, the nearest: farther ones give way with them
_ROUNDS = 6
_STEPS = 15  # of L-BFGS, until the impostors are found again


@dataclass(frozen=True, eq=False)
class Triplets:
    """Which rows are to be near and which farther.

    Attributes:
        anchors: (A,) rows.
        targets: (A, K) rows to be pulled near; where an anchor has fewer, itself, at no cost.
        places: (P,) of an impostor's anchor among ``anchors``.
        impostors: (P,) rows to be pushed away from it.
    """

    anchors: Codes
    targets: Codes
    places: Codes
    impostors: Codes


def lmnn(
    rows: Floats,
    people: Codes,
    cameras: Codes,
    dim: int,
    shrinkage: float,
    *,
    neighbours: int = 3,
    push: float = 0.5,
) -> Floats:
    """L (R, D), R = ``dim``: each picture's ``neighbours`` nearest of its person nearer than any of another
    person, by a margin of 1.

    Targets are of other cameras where the person has any: pictures of one camera follow each other and are
    near already. Impostors are found anew every few steps among all rows, a block of distances at a time, and
    of each anchor the nearest are held.

    Args:
        rows: (N, D), centred.
        people: (N,).
        cameras: (N,).
        dim: R at most D.
        shrinkage: weight of ``|L - L0|^2``, which holds L near the principal directions that it starts from:
            all of them are the Euclidean metric. Without it L fits the people it sees and no others.
        neighbours: K of the paper.
        push: mu of the paper, from 0 to 1: weight of the impostors against that of the targets.

    Raises:
        ReidError: nobody has two pictures.
    """
    anchors, targets = find_targets(rows, people, cameras, neighbours)
    # In units in which two people are 2 apart, squared, so that a margin of 1 is half of that.
    start = _principal(rows, dim) * np.sqrt(1 / np.square(rows).sum(1).mean())
    found, best = start, np.inf
    for _ in range(_ROUNDS):
        triplets = Triplets(anchors, targets, *find_impostors(rows @ found.T, people, anchors, targets))
        if not len(triplets.places):
            break

        def objective(flat: Floats, triplets: Triplets = triplets) -> tuple[float, Floats]:
            value, grad = loss_and_gradient(flat.reshape(start.shape), rows, triplets, push, shrinkage, start)
            return value, grad.ravel()

        result = scipy.optimize.minimize(
            objective, found.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}
        )
        found = result.x.reshape(start.shape)
        if result.fun > 0.999 * best:
            break
        best = min(best, float(result.fun))
    return np.asarray(found, np.float64)


def loss_and_gradient(
    matrix: Floats, rows: Floats, triplets: Triplets, push: float, shrinkage: float, start: Floats
) -> tuple[float, Floats]:
    """Equations 11 to 13 of the paper, a mean over the anchors instead of a sum, and its gradient by L.

    ``(1 - push) |L (x - t)|^2`` of targets, ``push [1 + |L (x - t)|^2 - |L (x - i)|^2]+`` of every target and
    impostor of an anchor, and ``shrinkage |L - start|^2``.
    """
    seen = rows @ matrix.T
    anchors, targets, places, impostors = (
        triplets.anchors,
        triplets.targets,
        triplets.places,
        triplets.impostors,
    )
    near = np.square(seen[anchors][:, None] - seen[targets]).sum(-1)
    far = _squared(seen, anchors[places], impostors)
    real = targets != anchors[:, None]
    hinge = np.where(real[places], 1 + near[places] - far[:, None], 0.0).clip(min=0)
    active = hinge > 0
    pull = (1 - push) * real + push * _sums(places, active, len(anchors))
    value = ((1 - push) * (near * real).sum() + push * hinge.sum()) / len(anchors)
    moved = matrix - start
    # A sum of w (x - y)(x - y)^T over pairs is X^T (D - W - W^T) X, with W their weights, mostly zeros.
    first = np.concatenate([np.repeat(anchors, targets.shape[1]), anchors[places]])
    second = np.concatenate([targets.ravel(), impostors])
    weights = np.concatenate([pull.ravel(), -push * active.sum(1)]) / len(anchors)
    sparse = scipy.sparse.csr_matrix((weights, (first, second)), (len(rows), len(rows)))
    sparse = sparse + sparse.T
    pulled = np.asarray(sparse.sum(1)).ravel()[:, None] * seen - sparse @ seen
    grad = 2 * pulled.T @ rows + 2 * shrinkage * moved
    return float(value + shrinkage * np.square(moved).sum()), grad


def find_targets(rows: Floats, people: Codes, cameras: Codes, count: int) -> tuple[Codes, Codes]:
    """Anchors (A,), who have another picture, and their targets (A, count): the nearest of their person, from
    other cameras where there are any.

    Raises:
        ReidError: nobody has two pictures.
    """
    anchors: list[int] = []
    targets: list[npt.NDArray[np.int64]] = []
    order = np.argsort(people, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(people[order])) + 1):
        if len(own) < 2:
            continue
        squared = np.square(rows[own][:, None] - rows[own]).sum(-1)
        np.fill_diagonal(squared, np.inf)
        apart = cameras[own][:, None] != cameras[own]
        squared[~apart & apart.any(1)[:, None]] = np.inf
        for place, row in enumerate(own.tolist()):
            nearest = np.argsort(squared[place], kind="stable")[:count]
            nearest = own[nearest[np.isfinite(squared[place][nearest])]]
            anchors.append(row)
            targets.append(np.concatenate([nearest, np.full(count - len(nearest), row, np.int64)]))
    if not anchors:
        raise ReidError("nobody has two pictures: a metric learns from pictures of one person")
    return np.asarray(anchors, np.int64), np.stack(targets)


def find_impostors(seen: Floats, people: Codes, anchors: Codes, targets: Codes) -> tuple[Codes, Codes]:
    """Places (P,) among ``anchors`` and rows (P,) of other people who are within 1 of the anchor's farthest
    target: the nearest ``_MOST_IMPOSTORS`` of each. In memory of a block of distances.
    """
    rows = seen.astype(np.float32)
    norms = np.square(rows).sum(1)
    reach = 1 + np.square(seen[anchors][:, None] - seen[targets]).sum(-1).max(1)
    most = min(_MOST_IMPOSTORS, len(rows))
    size = max(1, _BLOCK_BYTES // (4 * len(rows)))
    places, impostors = [], []
    for begin in range(0, len(anchors), size):
        block = anchors[begin : begin + size]
        squared = norms[block][:, None] + norms - 2 * rows[block] @ rows.T
        squared[people[block][:, None] == people] = np.inf
        nearest = np.argpartition(squared, most - 1, axis=1)[:, :most]
        within = np.take_along_axis(squared, nearest, 1) < reach[begin : begin + size, None]
        places.append(begin + np.nonzero(within)[0])
        impostors.append(nearest[within])
    return np.concatenate(places), np.concatenate(impostors)


def _squared(seen: Floats, first: Codes, second: Codes) -> Floats:
    """Squared distances (P,) of pairs of rows, some at a time."""
    found = np.empty(len(first))
    size = max(1, _BLOCK_BYTES // (8 * seen.shape[1]))
    for begin in range(0, len(first), size):
        part = slice(begin, begin + size)
        found[part] = np.square(seen[first[part]] - seen[second[part]]).sum(1)
    return found


def _sums(places: Codes, active: npt.NDArray[np.bool_], count: int) -> Floats:
    """(count, K): how many of an anchor's triplets cost something, by target."""
    found = [np.bincount(places, column, count) for column in active.T]
    return np.stack(found, axis=1)


def _principal(rows: Floats, dim: int) -> Floats:
    """The ``dim`` directions (dim, D) in which the rows vary most."""
    vectors = np.linalg.eigh(rows.T @ rows)[1]
    return np.asarray(vectors[:, ::-1][:, :dim].T)
