"""Cameras along one street: everybody passes all of them, one after the other, from one end or the other.

The street's own axes, u and v, are metres: u along it from the axis of the first camera, v away from the
cameras. The views do not touch, so that between two of them people are seen by nobody.
"""

from collections.abc import Iterator

import numpy as np

from reid.data.synthetic.cameras import Camera
from reid.data.synthetic.walks import Walk, half_view, paced

__all__ = ["SPACING_M", "longest_passage_s", "plan_passage"]

SPACING_M = 14.0  # from one camera's axis to the next
_MARGIN_M = 0.55
_LINGER = 0.15  # spread of how much longer or shorter than at her pace somebody is on the way


def longest_passage_s(cameras: int, in_view_s: float) -> float:
    """From the first view entered to the last one left, of somebody slow."""
    return cameras * in_view_s + (cameras - 1) * SPACING_M / 1.2


def plan_passage(
    camera: Camera, cameras: int, stature: float, rng: np.random.Generator, seconds: tuple[float, float]
) -> Iterator[tuple[int, float, Walk]]:
    """One person's way along the street: the number of each camera in the order in which they are passed,
    the seconds after the start of the first view at which its walk begins, and the walk in the camera's axes.

    ``seconds``: least and most in one view.
    """
    near, far = camera.focal / camera.near, camera.focal / camera.far
    side = float(rng.choice((-1.0, 1.0)))
    when, left_at = 0.0, 0.0
    for place in range(cameras):
        start_z, bend_z, end_z = (float(z) for z in rng.uniform(near, far, 3))
        start, end = half_view(camera, start_z) + _MARGIN_M, half_view(camera, end_z) + _MARGIN_M
        bend = float(rng.uniform(-0.2, 0.2)) * start
        walk = paced(((side * start, start_z), (bend, bend_z), (-side * end, end_z)), stature, rng, seconds)
        if place:
            between = SPACING_M - left_at - start
            when += between / (walk.length / walk.duration) * float(np.exp(rng.normal(0, _LINGER)))
        yield (place + 1 if side < 0 else cameras - place), when, walk
        when, left_at = when + walk.duration, end
