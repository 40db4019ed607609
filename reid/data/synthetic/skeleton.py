"""The bones of a walking person.

Lengths are shares of the body height. The person's own axes: x to their left, y up from the ground, z ahead.
"""

from dataclasses import dataclass
from math import cos, pi, sin

from reid.data.synthetic.people import Appearance
from reid.data.synthetic.textures import TORSO_LENGTH

__all__ = ["HIP", "NECK", "SHIN", "Limb", "Point", "Pose", "Skeleton", "between", "build_skeleton"]

HIP, _THIGH, SHIN, _ANKLE = 0.50, 0.245, 0.225, 0.030
NECK = HIP + TORSO_LENGTH
_UPPER_ARM, _FOREARM = 0.165, 0.205

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """How a person stands: turned by ``yaw`` (radians), at ``phase`` of the gait (radians), swinging the legs
    by ``swing`` (radians).
    """

    yaw: float
    phase: float
    swing: float


@dataclass(frozen=True, slots=True)
class Limb:
    """Two bones: hip, knee, ankle or shoulder, elbow, hand; ``side`` is 1 on the left and -1 on the right."""

    side: int
    top: Point
    middle: Point
    end: Point
    end_angle: float


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A pose as joints; ``drop`` is how far the stride lowers the body."""

    drop: float
    legs: tuple[Limb, Limb]
    arms: tuple[Limb, Limb]


def build_skeleton(person: Appearance, pose: Pose) -> Skeleton:
    """The joints of a person in a pose, lowered until the lower foot stands on the ground."""
    legs = tuple(_leg(side, pose.phase + (0 if side > 0 else pi), pose.swing) for side in (1, -1))
    drop = min(leg.end[1] for leg in legs) - _ANKLE
    lowered = [
        Limb(leg.side, _down(leg.top, drop), _down(leg.middle, drop), _down(leg.end, drop), leg.end_angle)
        for leg in legs
    ]
    reach = 0.098 + 0.026 * person.build - 0.008 * person.hips
    arms = []
    for side in (1, -1):
        carries = person.bag == "hand" and side < 0
        swing = -(0.15 if carries else 0.85) * pose.swing * sin(pose.phase + (0 if side > 0 else pi))
        bend = 0.08 if carries else 0.25 + 0.5 * max(0.0, swing)
        shoulder = (side * reach, NECK - 0.058 - drop, 0.0)
        elbow = (side * (reach + 0.018), shoulder[1] - _UPPER_ARM * cos(swing), _UPPER_ARM * sin(swing))
        hand = (
            side * (reach + 0.016),
            elbow[1] - _FOREARM * cos(swing + bend),
            elbow[2] + _FOREARM * sin(swing + bend),
        )
        arms.append(Limb(side, shoulder, elbow, hand, swing + bend))
    return Skeleton(drop, (lowered[0], lowered[1]), (arms[0], arms[1]))


def _leg(side: int, phase: float, swing: float) -> Limb:
    thigh = swing * sin(phase)
    # The knee bends while the leg swings forward, that is while the thigh's angle grows.
    shin = thigh - 0.05 - 1.9 * swing * max(0.0, cos(phase + 0.35)) ** 1.5
    hip = (side * 0.046, HIP, 0.0)
    knee = (side * 0.046, HIP - _THIGH * cos(thigh), _THIGH * sin(thigh))
    return Limb(side, hip, knee, (side * 0.044, knee[1] - SHIN * cos(shin), knee[2] + SHIN * sin(shin)), shin)


def _down(point: Point, by: float) -> Point:
    return (point[0], point[1] - by, point[2])


def between(a: Point, b: Point, share: float) -> Point:
    """The point a share of the way from ``a`` to ``b``."""
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))
