"""From what a job says of a camera's floor to the homography from its picture to metres on the ground."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Matrix", "floor_matrix"]

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
Floats = npt.NDArray[np.float64]

_PIXELS = 1000.0  # about the size of a picture: brings the columns of a homography to one scale
_LEAST_AREA = 1e-4  # of what two rows span, as a share of their lengths: below it the ground is a line
_ON_A_LINE = 1e-3  # of three points: their triangle's area as a share of what their distances allow
_MOST_OFF_M = 0.5  # a fifth point farther from where the others put it was measured wrongly
_WANT = (
    "want three rows of three numbers (a homography from pixels to metres), or at least four pairs "
    "[[column, row], [x, y]]: a point of the picture in pixels and where it is on the ground in metres"
)


def floor_matrix(raw: Any) -> Matrix:
    """The homography (3, 3) of a camera's floor, scaled to norm 1.

    Args:
        raw: three rows of three numbers; or four and more pairs of a point in pixels and one in metres.

    Raises:
        ValueError: it is neither, or the ground would be a line, or a pair contradicts the others.
    """
    rows = _numbers(raw)
    if rows.shape == (3, 3):
        matrix = rows
    elif rows.ndim == 3 and len(rows) >= 4 and rows.shape[1:] == (2, 2):
        matrix = _fitted(rows[:, 0], rows[:, 1])
    else:
        raise ValueError(_WANT)
    norm = float(np.linalg.norm(matrix))
    if not np.isfinite(norm) or norm == 0 or _flat(matrix / norm):
        raise ValueError("the homography is degenerate: it puts the whole picture on a line or a point")
    first, second, third = ((float(a), float(b), float(c)) for a, b, c in (matrix / norm).tolist())
    return first, second, third


def _numbers(raw: Any) -> Floats:
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes):
        raise ValueError(_WANT)
    try:
        rows = np.asarray(raw, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(_WANT) from error
    if not np.isfinite(rows).all() or (np.abs(rows) > 1e9).any():
        raise ValueError("a number is not finite, or too large to be pixels or metres")
    return rows


def _flat(matrix: Floats) -> bool:
    """Whether a homography puts the picture on a line, wherever the ground's origin lies."""
    scaled = matrix * [_PIXELS, _PIXELS, 1.0]
    below = scaled[2] / max(float(np.linalg.norm(scaled[2])), 1e-300)
    # Moving the origin adds a multiple of the third row to the others: without their part along it they say
    # the same of every origin.
    along, across = (row - (row @ below) * below for row in scaled[:2])
    lengths = float(np.linalg.norm(along) * np.linalg.norm(across))
    area = float(np.linalg.norm(np.cross(along, across)))
    return not np.isfinite(area) or not scaled[2].any() or area <= _LEAST_AREA * lengths or lengths == 0


def _fitted(pixels: Floats, metres: Floats) -> Floats:
    """The homography through point pairs (N, 2), by the normalised direct linear transformation (Hartley and
    Zisserman 2004, algorithm 4.2).
    """
    for name, points in (("picture", pixels), ("ground", metres)):
        if not _in_general_position(points):
            raise ValueError(
                f"the points on the {name} do not fix a floor: want four of which no three lie on a line"
            )
    moved, moves = zip(*(_normalised(points) for points in (pixels, metres)), strict=True)
    (x, y), (u, v) = moved[0].T, moved[1].T
    one, none = np.ones_like(x), np.zeros_like(x)
    equations = np.concatenate(
        [
            np.stack([x, y, one, none, none, none, -u * x, -u * y, -u], axis=1),
            np.stack([none, none, none, x, y, one, -v * x, -v * y, -v], axis=1),
        ]
    )
    matrix = np.linalg.svd(equations)[2][-1].reshape(3, 3)
    matrix = np.linalg.inv(moves[1]) @ matrix @ moves[0]
    placed = np.column_stack([pixels, one]) @ matrix.T
    if not ((placed[:, 2] > 0).all() or (placed[:, 2] < 0).all()):
        raise ValueError("the points lie on both sides of the horizon: check their order")
    off = np.linalg.norm(placed[:, :2] / placed[:, 2:] - metres, axis=1)
    worst = int(off.argmax())
    if off[worst] > _MOST_OFF_M:
        raise ValueError(
            f"pair {worst + 1} lies {off[worst]:.1f} m from where the others put it: measure it again"
        )
    return matrix


def _normalised(points: Floats) -> tuple[Floats, Floats]:
    """Points around 0 at a mean distance of the root of 2, and the matrix that moves them there."""
    middle = points.mean(axis=0)
    scale = np.sqrt(2) / float(np.linalg.norm(points - middle, axis=1).mean())
    move = np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
    return (points - middle) * scale, move


def _in_general_position(points: Floats) -> bool:
    """Whether there are four points of which no three lie on a line."""

    def bent(three: tuple[int, ...]) -> bool:
        a, b, c = points[list(three)]
        (px, py), (qx, qy) = b - a, c - a
        sides = [float(np.linalg.norm(one)) for one in (b - a, c - a, c - b)]
        return abs(px * qy - py * qx) > _ON_A_LINE * max(sides) ** 2

    few = range(min(len(points), 12))  # of many the first are enough
    return any(all(bent(three) for three in combinations(four, 3)) for four in combinations(few, 4))
