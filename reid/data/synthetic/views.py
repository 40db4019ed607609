"""Cameras around one place: walks planned once on the ground, and what each camera sees of them.

The place's own axes, u and v, are metres from its middle. Cameras stand on both sides of the line on which
people walk, each turned a little, so that all of them have the whole walk between their nearest and their
farthest.
"""

from dataclasses import replace
from math import asin, cos, pi, sin

import numpy as np
import numpy.typing as npt

from reid.data.synthetic.cameras import Camera
from reid.data.synthetic.passage import SPACING_M
from reid.data.synthetic.spec import Views
from reid.data.synthetic.walks import Walk, paced

__all__ = ["bearings", "floor_of", "plan_shared_walk", "seen_by"]

_LANE = 0.3  # how far from the line people walk, as a share of half the depth of a view
_OUTSIDE_M = 0.45


def bearings(camera: Camera, count: int) -> list[float]:
    """How far each of so many cameras is turned around the middle of the place, radians; those with odd
    numbers face those with even.
    """
    widest = asin(min((1 - _LANE) * _half_depth(camera) / (_slope(camera) * camera.focal / camera.far), 0.6))
    rows = [(number // 2, (count + 1 - number % 2) // 2, number % 2) for number in range(count)]
    return [widest * ((2 * place + 1) / among - 1) + pi * side for place, among, side in rows]


def plan_shared_walk(
    camera: Camera,
    turned: list[float],
    stature: float,
    rng: np.random.Generator,
    seconds: tuple[float, float],
) -> Walk:
    """A walk through the place, in u and v, that begins and ends outside every view; ``turned`` are the
    cameras' bearings.
    """
    lane = _LANE * _half_depth(camera)
    reach = max(_reach(camera, bearing, lane) for bearing in turned)
    side = float(rng.choice((-1.0, 1.0)))
    start, bend, end = (float(v) for v in rng.uniform(-lane, lane, 3))
    points = ((side * reach, start), (float(rng.uniform(-0.3, 0.3)) * reach, bend), (-side * reach, end))
    return paced(points, stature, rng, seconds)


def seen_by(walk: Walk, camera: Camera, bearing: float) -> Walk:
    """The same walk in a camera's own axes, metres right of it and away from it."""
    middle = _middle(camera)

    def turn(point: tuple[float, float]) -> tuple[float, float]:
        u, v = point
        return u * cos(bearing) + v * sin(bearing), middle - u * sin(bearing) + v * cos(bearing)

    start, control, end = walk.points
    return replace(walk, points=(turn(start), turn(control), turn(end)))


def floor_of(camera: Camera, views: Views, cameras: int) -> npt.NDArray[np.float64] | None:
    """The homography (3, 3) from the camera's picture to the ground in metres, in the axes that all cameras
    of the town share; None where each is at a place of its own.
    """
    if views == "disjoint":
        return None
    # Of :meth:`Camera.foot`: z = focal mount / (y - horizon), x = (column - width / 2) z / focal.
    own = np.array(
        [
            [camera.mount, 0.0, -camera.mount * camera.width / 2],
            [0.0, 0.0, camera.focal * camera.mount],
            [0.0, 1.0, -camera.horizon],
        ]
    )
    if views == "passage":
        return np.array([[1.0, 0.0, SPACING_M * (camera.number - 1)], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ own
    bearing, middle = bearings(camera, cameras)[camera.number - 1], _middle(camera)
    along, across = cos(bearing), sin(bearing)
    turn = [[along, -across, across * middle], [across, along, -along * middle], [0.0, 0.0, 1.0]]
    return np.asarray(np.array(turn) @ own)


def _middle(camera: Camera) -> float:
    """How far away the middle of a view is."""
    return (camera.focal / camera.near + camera.focal / camera.far) / 2


def _half_depth(camera: Camera) -> float:
    return (camera.focal / camera.far - camera.focal / camera.near) / 2


def _slope(camera: Camera) -> float:
    """Metres of half a view's width for each metre away from the camera."""
    return camera.width / 2 / camera.focal


def _reach(camera: Camera, bearing: float, lane: float) -> float:
    """The least |u| at which nobody within the lane is seen by a camera: |x| is over half the width of its
    view at that depth.
    """
    middle = _middle(camera)
    slope, across, along = _slope(camera), abs(cos(bearing)), abs(sin(bearing))
    return (slope * middle + _OUTSIDE_M + lane * (slope * across + along)) / (across - slope * along)
