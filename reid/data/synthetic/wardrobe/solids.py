"""Round bodies between two points into buffers of depth, surface place and normal: what is nearest stays.

A body is a generalised cylinder: at each place of its axis an ellipse, whose half-widths run through knots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan2, ceil, cos, floor, hypot, pi, sin, sqrt

import numpy as np

from reid.data.synthetic.wardrobe.fabric import COLUMNS, Floats

__all__ = ["Buffers", "Camera3D", "Point", "Solid", "draw"]

Point = tuple[float, float, float]
"""The person's own axes: x to their left, y up from the ground, z ahead; body heights."""


@dataclass(frozen=True, slots=True)
class Solid:
    """One body.

    Attributes:
        start, end: of the axis.
        knots: half-widths along it, evenly spread, of the axis across the person.
        rows: first and last row of the atlas.
        flat: half-depth over half-width.
        round: of the ends: 1 spheres, 0 cut off.
        turn: about the upright axis against the person, radians.
        opening: half-width in front that is missing, at start and end, radians.
    """

    start: Point
    end: Point
    knots: Sequence[float]
    rows: tuple[float, float]
    flat: float = 1.0
    round: float = 1.0
    turn: float = 0.0
    opening: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Camera3D:
    """A pinhole ``distance`` body heights from the middle of a person turned by ``yaw`` and looking down by
    ``pitch`` (radians); a body height at the middle is ``scale`` pixels, which comes to lie at ``centre``.
    """

    yaw: float
    pitch: float
    distance: float
    scale: float
    centre: tuple[float, float]

    def project(self, point: Point) -> tuple[float, float, float, float]:
        """Image x and y, nearness in pixels, pixels a body height."""
        x, y, z = point
        across = x * cos(self.yaw) + z * sin(self.yaw)
        toward = z * cos(self.yaw) - x * sin(self.yaw)
        up = (y - 0.5) * cos(self.pitch) - toward * sin(self.pitch)
        near = (y - 0.5) * sin(self.pitch) + toward * cos(self.pitch)
        scale = self.scale * self.distance / (self.distance - near)
        return self.centre[0] + scale * across, self.centre[1] - scale * up, self.scale * near, scale


class Buffers:
    """What is seen at each pixel of (height, width): nearness (minus infinity: nothing), column and row of
    the atlas, and the normal's part to the right and down.
    """

    def __init__(self, height: int, width: int) -> None:
        self.depth = np.full((height, width), -np.inf, np.float32)
        self.column, self.row, self.right, self.down = np.zeros((4, height, width), np.float32)


def draw(buffers: Buffers, solid: Solid, camera: Camera3D) -> None:
    """Draw a body where it is nearer than what is there."""
    x0, y0, near0, scale0 = camera.project(solid.start)
    x1, y1, near1, scale1 = camera.project(solid.end)
    length = hypot(x1 - x0, y1 - y0)
    if length < 0.5:
        x1, y1, length = x0, y0 + 0.5, 0.5
    ex, ey = (x1 - x0) / length, (y1 - y0) / length
    yaw = camera.yaw + solid.turn
    cosine, sine = cos(yaw), sin(yaw)
    across, deep = cosine, solid.flat * sine
    breadth = hypot(across, deep)
    profile, before = _profile(solid, length, near1 - near0, breadth, scale0, scale1)
    most = float(profile.max()) + 1
    xs, ys = (x0 - before * ex, x1 + before * ex), (y0 - before * ey, y1 + before * ey)
    height, width = buffers.depth.shape
    left, right = max(floor(min(xs) - most), 0), min(ceil(max(xs) + most) + 1, width)
    top, bottom = max(floor(min(ys) - most), 0), min(ceil(max(ys) + most) + 1, height)
    if left >= right or top >= bottom:
        return
    window = np.s_[top:bottom, left:right]
    px = np.arange(left, right, dtype=np.float32)[None] - np.float32(x0)
    py = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y0)
    along = px * ex + py * ey
    aside = px * ey - py * ex
    place = (along + (before + 0.5)).astype(np.int32)
    inside = (place >= 0) & (place < len(profile))
    half = profile.take(place, mode="clip")
    ratio = aside / half
    seen = inside & (np.abs(ratio) < 1)
    if not seen.any():
        return
    np.minimum(ratio, 1, out=ratio)
    np.maximum(ratio, -1, out=ratio)
    inward = np.sqrt(1 - ratio * ratio)
    share = along * (1 / length)
    np.minimum(share, 1, out=share)
    np.maximum(share, 0, out=share)
    # Of the ellipse's near side: nearness, and the normal turned to the camera.
    depth = near0 + (near1 - near0) * share
    depth += half * (
        (solid.flat / breadth**2) * inward + ((solid.flat**2 - 1) * sine * cosine / breadth**2) * ratio
    )
    beta = np.arcsin(ratio) - atan2(deep, across)
    seen &= depth > buffers.depth[window]
    if solid.opening is not None:
        turned = np.abs((beta + pi) % (2 * pi) - pi)
        seen &= turned > solid.opening[0] + (solid.opening[1] - solid.opening[0]) * share
    cf, sf = across / breadth, deep / breadth
    body_x, body_z = ratio * cf - inward * sf, (inward * cf + ratio * sf) / solid.flat
    norm = 1 / np.sqrt(body_x * body_x + body_z * body_z)
    outward = (body_x * cosine + body_z * sine) * norm
    np.copyto(buffers.depth[window], depth, where=seen)
    np.copyto(buffers.column[window], beta * (COLUMNS / (2 * pi)) + COLUMNS / 2, where=seen)
    np.copyto(buffers.row[window], solid.rows[0] + (solid.rows[1] - solid.rows[0]) * share, where=seen)
    # Round ends face along the axis.
    over = (along - length * share) * (solid.round / most)
    np.copyto(buffers.right[window], outward * ey + over * ex, where=seen)
    np.copyto(buffers.down[window], over * ey - outward * ex, where=seen)


def _profile(
    solid: Solid, length: float, rise: float, breadth: float, scale0: float, scale1: float
) -> tuple[Floats, float]:
    """Half-widths in pixels for each pixel along the axis, the ends with it, and where the start is."""
    # What is seen of a cut-off end grows as the axis points to the camera.
    tilt = abs(rise) / sqrt(rise * rise + length * length)
    stretch = max(solid.round, tilt * solid.flat)
    places = _even(len(solid.knots))
    widths = np.asarray(solid.knots, np.float32) * (breadth * (scale0 + (scale1 - scale0) * places))
    first, last = max(float(widths[0]) * stretch, 0.5), max(float(widths[-1]) * stretch, 0.5)
    at = np.arange(ceil(length + first + last) + 1, dtype=np.float32) - np.float32(first)
    held = np.minimum(np.maximum(at, 0), length)
    half = np.interp(held * (1 / length), places, widths).astype(np.float32)
    over = np.where(at < 0, at * (1 / first), (at - held) * (1 / last))
    return half * np.sqrt(np.maximum(1 - over * over, 1e-4)), first


@lru_cache(maxsize=32)
def _even(count: int) -> Floats:
    return np.linspace(0, 1, count, dtype=np.float32)
