"""What stands between a camera and everybody it sees: trunks and hedges in the foreground."""

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.cameras import Camera
from reid.data.synthetic.seeds import generator

__all__ = ["plant_occluders"]

_MOST = 4
_NEARER = 0.9  # of the distance at which the nearest people walk


def plant_occluders(canvas: npt.NDArray[np.float32], camera: Camera, share: float) -> npt.NDArray[np.bool_]:
    """Draw trunks and hedges in turns, spread over the width, into a scene (H, W, 3), in place.

    Args:
        canvas: RGB in [0, 255].
        camera: whose view it is.
        share: 0 for none, 1 for four of them; above 0 there is at least one.

    Returns:
        (H, W) bool, where they are.
    """
    mask = np.zeros(canvas.shape[:2], np.uint8)
    count = max(round(_MOST * share), 1) if share > 0 else 0
    rng = generator(camera.seed, "occluders", camera.number)
    for number in range(count):
        x = int((number + rng.uniform(0.25, 0.75)) * camera.width / count)
        draw = _trunk if (number + camera.number) % 2 else _hedge
        draw(canvas, mask, camera, x, rng)
    return mask > 0


def _foot(camera: Camera) -> tuple[float, float]:
    """The image row, mostly below the image, at which such a thing stands, and pixels per metre there."""
    _, y, scale = camera.foot(0.0, _NEARER * camera.focal / camera.near)
    return y, scale


def _trunk(
    canvas: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    camera: Camera,
    x: int,
    rng: np.random.Generator,
) -> None:
    """A trunk whose crown is above the picture."""
    _, scale = _foot(camera)
    half = float(rng.uniform(0.1, 0.17)) * scale
    bark = np.array([96.0, 78.0, 62.0]) * float(rng.uniform(0.7, 1.1))
    lean = float(rng.uniform(-0.2, 0.2)) * scale
    corners = np.array(
        [
            (x + lean - 0.8 * half, 0),
            (x + lean + 0.8 * half, 0),
            (x + half, camera.height),
            (x - half, camera.height),
        ]
    )
    cv2.fillConvexPoly(mask, corners.astype(np.int32), 255)
    cv2.fillConvexPoly(canvas, corners.astype(np.int32), tuple(map(float, bark)))
    for _ in range(12):
        at, top = float(rng.uniform(-0.7, 0.7)), int(rng.uniform(0, camera.height))
        ends = (int(x + at * half), top), (int(x + at * half), top + int(rng.uniform(0.1, 0.35) * scale))
        cv2.line(canvas, *ends, tuple(map(float, bark * rng.uniform(0.6, 1.25))), max(1, int(0.02 * scale)))


def _hedge(
    canvas: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    camera: Camera,
    x: int,
    rng: np.random.Generator,
) -> None:
    """A hedge up to the knees or the hips."""
    foot, scale = _foot(camera)
    half, height = float(rng.uniform(0.5, 0.9)) * scale, float(rng.uniform(0.5, 0.85)) * scale
    for _ in range(int(rng.integers(110, 150))):
        at = (int(x + rng.uniform(-half, half)), int(foot - height * rng.uniform(0.0, 0.95)))
        radius, shade = int(rng.uniform(0.05, 0.12) * scale) + 1, float(rng.uniform(0.55, 1.15))
        cv2.circle(canvas, at, radius, (60 * shade, 96 * shade, 50 * shade), -1)
        cv2.circle(mask, at, radius, 255, -1)
