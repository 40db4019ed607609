"""A walking person seen from any side, drawn far parts first.

Lengths are shares of the body height. The person's own axes: x to their left, y up from the ground, z ahead.
Yaw is how far they are turned from facing the camera; at 90 degrees they walk to the right of the image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, hypot, sin, sqrt

import numpy as np

from reid.data.synthetic.people import Appearance
from reid.data.synthetic.skeleton import HIP, NECK, SHIN, Point, Pose, Skeleton, between, build_skeleton
from reid.data.synthetic.surface import Facing, Floats, Light, face, floats, paste, round_patch, tube_profile
from reid.data.synthetic.textures import TORSO_LENGTH, Textures, textures_of

__all__ = ["Figure", "draw_person"]

_TORSO_ROWS = np.array([0.0, 0.06, 0.17, 0.38, 0.66, 0.9, 1.0])
_TORSO_WIDTH = np.array([0.042, 0.080, 0.112, 0.106, 0.089, 0.097, 0.098])
_TORSO_DEPTH = np.array([0.036, 0.052, 0.062, 0.074, 0.064, 0.070, 0.070])
_WAISTED = np.array([0.0, -0.08, -0.10, -0.06, -0.15, 0.06, 0.10])


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn person.

    Attributes:
        image: (h, w, 4) float32, RGB premultiplied by alpha, in [0, 1]; nothing but the person.
        foot: x, y of the ground point under the body, pixels in ``image``.
        box: x, y, width, height of the person in ``image``, pixels.
    """

    image: Floats
    foot: tuple[float, float]
    box: tuple[int, int, int, int]


def draw_person(person: Appearance, pose: Pose, height_px: float, pitch: float, light: Light) -> Figure:
    """Draw a person.

    Args:
        person: what they look like.
        pose: how they stand.
        height_px: the length of their body in pixels.
        pitch: how far the camera looks down, radians.
        light: for the shading.
    """
    view = _View(pose.yaw, pitch, height_px, face(pose.yaw, light), (0.46 * height_px, 1.06 * height_px))
    canvas = np.zeros((int(1.16 * height_px) + 2, int(0.92 * height_px) + 2, 4), np.float32)
    parts = sorted(
        _parts(person, textures_of(person), build_skeleton(person, pose), view), key=lambda part: part.depth
    )
    for part in parts:
        paste(canvas, part.patch, part.origin, part.direction)
    rows = np.flatnonzero(canvas[..., 3].max(axis=1) > 0.5)
    columns = np.flatnonzero(canvas[..., 3].max(axis=0) > 0.5)
    box = (int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))
    return Figure(canvas, view.foot, box)


@dataclass(frozen=True, slots=True)
class _View:
    yaw: float
    pitch: float
    scale: float
    facing: Facing
    foot: tuple[float, float]

    def project(self, point: Point) -> tuple[float, float]:
        x, y, z = point
        across = x * cos(self.yaw) + z * sin(self.yaw)
        down = -y * cos(self.pitch) + self.nearness(point) * sin(self.pitch)
        return self.foot[0] + self.scale * across, self.foot[1] + self.scale * down

    def nearness(self, point: Point) -> float:
        return point[2] * cos(self.yaw) - point[0] * sin(self.yaw)

    def breadth(self, width: float, depth: float) -> float:
        """How broad an ellipse of these half-axes looks, as a half-width."""
        return sqrt((width * cos(self.yaw)) ** 2 + (depth * sin(self.yaw)) ** 2)


@dataclass(frozen=True, slots=True)
class _Part:
    depth: float
    patch: Floats
    origin: tuple[float, float]
    direction: tuple[float, float]


def _parts(person: Appearance, textures: Textures, bones: Skeleton, view: _View) -> Iterator[_Part]:
    yield from _legs(person, textures, bones, view)
    yield from _trunk(person, textures, bones, view)
    yield from _arms(person, textures, bones, view)
    yield from _head(person, textures, bones, view)
    yield from _bags(person, textures, bones, view)


def _tube(
    view: _View,
    start: Point,
    end: Point,
    radii: tuple[float, float],
    surface: Floats,
    rows: tuple[float, float],
    depth: float,
) -> _Part:
    """A limb between two points; ``rows`` is the share of the texture's height it shows."""
    (x0, y0), (x1, y1) = view.project(start), view.project(end)
    length = hypot(x1 - x0, y1 - y0)
    direction = ((x1 - x0) / length, (y1 - y0) / length) if length > 0.5 else (0.0, 1.0)
    first, last = radii[0] * view.scale, radii[1] * view.scale
    profile = tube_profile(length, first, last)
    share = np.clip((np.arange(len(profile), dtype=np.float32) - first) / max(length, 1.0), 0, 1)
    along = np.clip((rows[0] + (rows[1] - rows[0]) * share) * len(surface), 0, len(surface) - 1)
    patch = round_patch(profile, surface, along.astype(np.float32), view.facing)
    return _Part(depth, patch, (x0 - direction[0] * first, y0 - direction[1] * first), direction)


def _upright(
    view: _View, centre: Point, height: float, widths: Floats, surface: Floats, depth: float
) -> _Part:
    """A body of revolution hanging from ``centre``; ``widths`` are half-widths spread evenly over its
    height.
    """
    x, y = view.project(centre)
    rows = max(round(height * view.scale * cos(view.pitch)), 2)
    share = (np.arange(rows, dtype=np.float32) + 0.5) / rows
    profile = np.interp(share, np.linspace(0, 1, len(widths)), widths).astype(np.float32) * view.scale
    along = np.clip(share * len(surface), 0, len(surface) - 1).astype(np.float32)
    return _Part(depth, round_patch(profile, surface, along, view.facing), (x, y), (0.0, 1.0))


def _legs(person: Appearance, textures: Textures, bones: Skeleton, view: _View) -> Iterator[_Part]:
    stout = 0.86 + 0.3 * person.build
    loose = 0.003 + 0.015 * person.lower_width if person.lower_kind == "trousers" else 0.0
    wide_knee = 0.012 * person.lower_width if person.lower_kind == "shorts" else 0.0
    for leg in bones.legs:
        # Behind all else, and the far leg first.
        depth = -2.0 + view.nearness(leg.middle)
        knee = 0.037 * stout + 0.5 * loose
        yield _tube(
            view,
            leg.top,
            leg.middle,
            (0.054 * stout + 0.3 * loose, knee + wide_knee),
            textures.leg,
            (0.0, 0.5),
            depth + 0.002,
        )
        cuff = 0.024 * stout + loose + 0.006 * bool(person.boot)
        # The round end of a wide cuff would swallow the shoe: stop short by what it is wider than an ankle.
        ankle = between(leg.middle, leg.end, 1 - max(0.0, cuff - 0.018) / SHIN)
        yield _tube(view, leg.middle, ankle, (knee, cuff), textures.leg, (0.5, 1.0), depth + 0.001)
        tilt = -0.7 * max(0.0, -leg.end_angle)
        heel = (leg.end[0], leg.end[1] - 0.006, leg.end[2] - 0.012)
        toe = (leg.end[0] * 1.25, leg.end[1] - 0.008 + 0.085 * sin(tilt), leg.end[2] + 0.085 * cos(tilt))
        shoe = floats(person.shoes)
        yield _tube(view, heel, toe, (0.027, 0.022), shoe, (0.0, 1.0), depth)


def _trunk(person: Appearance, textures: Textures, bones: Skeleton, view: _View) -> Iterator[_Part]:
    thick = 0.006 * (person.opening > 0 or person.hood) + 0.006 * (person.hem > 0.3)
    waisted = 1 + _WAISTED * (2 * person.hips - 0.4)
    width = _TORSO_WIDTH * waisted * (0.88 + 0.26 * person.build) + thick
    deep = _TORSO_DEPTH * (0.8 + 0.45 * person.build) + thick
    at = np.linspace(0, 1, 24)
    widths = np.interp(
        at, _TORSO_ROWS, np.sqrt((width * cos(view.yaw)) ** 2 + (deep * sin(view.yaw)) ** 2)
    ).astype(np.float32)
    neck = (0.0, NECK - bones.drop, 0.0)
    yield _upright(view, neck, TORSO_LENGTH, widths, textures.torso, 0.0)
    hip, at_hip = (0.0, HIP - bones.drop + 0.004, 0.0), float(widths[-1])
    stride = abs(bones.legs[0].middle[2] - bones.legs[1].middle[2]) * abs(sin(view.yaw)) * 0.3
    if person.hem > 0.02:
        flared = at_hip + (0.012 + stride) * min(1.0, 2 * person.hem)
        yield _upright(view, hip, person.hem * 0.26, floats([at_hip, flared]), textures.coat, -0.6)
    if person.lower_kind == "skirt":
        length = 0.49 * person.lower_length
        hem = at_hip + 0.012 + 0.05 * person.lower_width + stride
        top = (0.0, hip[1] + 0.03, 0.0)
        yield _upright(view, top, length, floats([at_hip * 0.96, at_hip + 0.01, hem]), textures.skirt, -0.8)


def _arms(person: Appearance, textures: Textures, bones: Skeleton, view: _View) -> Iterator[_Part]:
    radius = 0.023 + 0.010 * person.build + 0.005 * (person.sleeve > 0.9) + 0.004 * (person.hem > 0.3)
    for arm in bones.arms:
        depth = view.nearness((arm.top[0], 0.0, 0.35 * arm.middle[2]))
        yield _tube(view, arm.top, arm.middle, (radius * 1.08, radius), textures.arm, (0.0, 0.46), depth)
        yield _tube(view, arm.middle, arm.end, (radius, 0.019), textures.arm, (0.46, 1.0), depth + 0.001)


def _head(person: Appearance, textures: Textures, bones: Skeleton, view: _View) -> Iterator[_Part]:
    base = NECK - bones.drop
    skin = floats(person.skin) * 0.9
    yield _tube(
        view, (0.0, base + 0.035, 0.004), (0.0, base - 0.006, 0.0), (0.029, 0.033), skin, (0.0, 1.0), 0.02
    )
    volume = 0.004 * (person.hair_length > 0.2) + 0.004 * (person.hat == "beanie")
    shape = np.sin(np.pi * np.linspace(0.06, 0.93, 12) ** 0.86) ** 0.62
    crown = (0.0, 1.0 - bones.drop + volume, 0.010)
    widths = (view.breadth(0.051 + volume, 0.060 + volume) * shape).astype(np.float32)
    yield _upright(view, crown, 0.142 + volume, widths, textures.head, 0.03)
    hair = floats(person.hair) * 0.93
    behind = -0.06 * cos(view.yaw)
    if person.hair_tied:
        tail = (0.0, base + 0.10, -0.052), (0.0, base + 0.13 - 0.16 * person.hair_length, -0.082)
        yield _tube(view, *tail, (0.016, 0.014), hair, (0.0, 1.0), behind + 0.012)
    elif person.hair_length > 0.35:
        length = 0.06 + 0.20 * person.hair_length
        breadth = view.breadth(0.056, 0.036)
        widths = floats([0.8, 1.0, 1.0, 1.02, 0.8]) * breadth
        yield _upright(view, (0.0, base + 0.115, -0.022), length, widths, hair, behind + 0.012)
    if person.hat == "cap":
        peak = floats(person.hat_colour) * 0.85
        front = (0.0, base + 0.122, 0.045), (0.0, base + 0.116, 0.092)
        yield _tube(view, *front, (0.026, 0.018), peak, (0.0, 1.0), 0.03 + 0.02 * cos(view.yaw))
    if person.hood:
        hood = floats(person.upper) * 0.82
        sag = floats([0.7, 1.0, 0.9, 0.5]) * view.breadth(0.062, 0.034)
        yield _upright(view, (0.0, base + 0.03, -0.036), 0.085, sag, hood, behind + 0.011)


def _bags(person: Appearance, textures: Textures, bones: Skeleton, view: _View) -> Iterator[_Part]:
    base = NECK - bones.drop
    if person.bag == "backpack":
        widths = floats([0.6, 0.95, 1.0, 1.0, 1.0, 0.9]) * view.breadth(0.088, 0.052)
        centre = (0.0, base - 0.03, -0.112)
        yield _upright(view, centre, 0.25, widths, textures.backpack, view.nearness(centre))
        return
    flat = floats(person.bag_colour)
    if person.bag == "shoulder":
        centre = (0.118, base - 0.245, 0.01)
        widths = floats([0.9, 1.0, 1.0, 0.95]) * view.breadth(0.034, 0.082)
        yield _upright(view, centre, 0.125, widths, flat, view.nearness((0.19, 0.0, 0.0)))
    elif person.bag == "hand":
        hand = bones.arms[1].end
        widths = floats([0.75, 1.0, 1.0, 1.0]) * view.breadth(0.036, 0.088)
        yield _upright(
            view, (hand[0], hand[1] + 0.008, hand[2]), 0.15, widths, flat, view.nearness((-0.19, 0.0, 0.0))
        )
