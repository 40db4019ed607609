"""Paths across a camera's view: in at one side, out at the other, straight or bent."""

from dataclasses import dataclass, replace
from math import atan2, hypot, pi

import numpy as np

from reid.data.synthetic.cameras import Camera
from reid.data.synthetic.skeleton import Pose

__all__ = ["Step", "Walk", "half_view", "paced", "plan_walk"]

Curve = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
_MARGIN_M = 0.55


@dataclass(frozen=True, slots=True)
class Step:
    """Somebody at one moment: where on the ground (metres right of the axis and away from the camera) and how
    they stand.
    """

    x: float
    z: float
    pose: Pose


@dataclass(frozen=True, slots=True)
class Walk:
    """A quadratic curve on the ground, walked in ``duration`` seconds.

    Attributes:
        points: start, control point and end, each x and z in metres.
        cycle: metres that two steps take.
        phase: of the gait at the start, radians.
    """

    points: Curve
    duration: float
    cycle: float
    phase: float

    @property
    def length(self) -> float:
        """Metres, along the legs of the control polygon and the chord: within a few per cent for such flat
        curves.
        """
        (ax, az), (bx, bz), (cx, cz) = self.points
        return 0.5 * (hypot(bx - ax, bz - az) + hypot(cx - bx, cz - bz) + hypot(cx - ax, cz - az))

    def at(self, seconds: float) -> Step:
        """Where the walker is so many seconds after the start."""
        (ax, az), (bx, bz), (cx, cz) = self.points
        t = min(max(seconds / self.duration, 0.0), 1.0)
        x = (1 - t) ** 2 * ax + 2 * t * (1 - t) * bx + t * t * cx
        z = (1 - t) ** 2 * az + 2 * t * (1 - t) * bz + t * t * cz
        ahead_x = (1 - t) * (bx - ax) + t * (cx - bx)
        ahead_z = (1 - t) * (bz - az) + t * (cz - bz)
        speed = self.length / self.duration
        pose = Pose(
            yaw=atan2(ahead_x, -ahead_z) + atan2(x, z),
            phase=self.phase + 2 * pi * t * self.length / self.cycle,
            swing=min(0.2 + 0.14 * speed, 0.5),
        )
        return Step(x, z, pose)


def plan_walk(camera: Camera, stature: float, rng: np.random.Generator, seconds: tuple[float, float]) -> Walk:
    """A walk through a camera's view at a pace of one's own, in view for about the given least and most
    seconds.
    """
    near, far = camera.focal / camera.near, camera.focal / camera.far
    toward = camera.toward if abs(camera.toward) > 0.1 else float(rng.choice((-0.3, 0.3)))
    if rng.random() < 0.22:
        toward = -toward
    middle = (near + far) / 2
    reach = (far - near) / 2 * abs(toward) * rng.uniform(0.7, 1.35)
    drift = rng.uniform(-1, 1) * max((far - near) / 2 - reach, 0.0)
    sign = 1.0 if toward > 0 else -1.0
    start_z = float(np.clip(middle + drift + sign * reach, near, far))
    end_z = float(np.clip(middle + drift - sign * reach, near, far))
    side = float(rng.choice((-1.0, 1.0)))
    start_x = side * (half_view(camera, start_z) + _MARGIN_M)
    end_x = -side * (half_view(camera, end_z) + _MARGIN_M)
    bend = (rng.uniform(-0.25, 0.25) * (start_x - end_x), rng.uniform(-0.5, 0.5) * (far - near) * abs(toward))
    control = (
        (start_x + end_x) / 2 + float(bend[0]),
        float(np.clip((start_z + end_z) / 2 + bend[1], near, far)),
    )
    return paced(((start_x, start_z), control, (end_x, end_z)), stature, rng, seconds)


def paced(points: Curve, stature: float, rng: np.random.Generator, seconds: tuple[float, float]) -> Walk:
    """A curve walked at a pace of one's own, within the given least and most seconds."""
    walk = Walk(points, 1.0, float(rng.uniform(0.78, 0.9)) * stature, float(rng.uniform(0, 2 * pi)))
    pace = float(rng.uniform(1.2, 1.9))
    return replace(walk, duration=min(max(walk.length / pace, seconds[0]), seconds[1]))


def half_view(camera: Camera, z: float) -> float:
    """Metres from a camera's axis to the edge of its picture, ``z`` metres away."""
    return camera.width / 2 * z / camera.focal
