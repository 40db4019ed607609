"""Small pieces of a body as patches: a round limb or torso whose texture turns with the body, anti-aliased and shaded.

Patches are float32 (h, w, 4), RGB premultiplied by alpha, all in [0, 1].
"""

from dataclasses import dataclass
from math import cos, sin

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Light", "floats", "paste", "round_patch", "tube_profile"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Light:
    """Where light comes from (azimuth seen from the camera, radians, 0 behind it and positive to the right) and how hard it is (0 to 1)."""

    azimuth: float
    hardness: float


def floats(values: npt.ArrayLike) -> Floats:
    """``values`` as float32."""
    return np.asarray(values, dtype=np.float32)


def tube_profile(length: float, start: float, end: float) -> Floats:
    """Half-widths (rows,) in pixels of a limb with round ends, from ``start`` before its first joint to ``end`` past its last."""
    rows = np.arange(int(np.ceil(length + start + end)) + 1, dtype=np.float32) - start
    straight = start + (end - start) * np.clip(rows / max(length, 1e-3), 0, 1)
    over = np.maximum(np.maximum(-rows, rows - length), 0)
    return np.sqrt(np.maximum(straight**2 - over**2, 0)).astype(np.float32)


def round_patch(half_width: Floats, texture: Floats, along: Floats, yaw: float, light: Light) -> Floats:
    """Draw an upright body of revolution.

    Args:
        half_width: (rows,) pixels.
        texture: (v, u, 3); u runs around the body from back over right, front and left to back.
        along: (rows,) which row of the texture each row shows.
        yaw: how far the body is turned, radians; 0 shows the texture's middle.
        light: for the shading across.

    Returns:
        (rows, 2c + 1, 4) with the axis in column c = ceil(max half_width) + 1.
    """
    centre = int(np.ceil(float(half_width.max()))) + 1
    x = np.arange(-centre, centre + 1, dtype=np.float32)[None]
    width = np.maximum(half_width, 1e-3)[:, None]
    sine = np.minimum(np.maximum(x / width, -1), 1)
    toward = np.sqrt(1 - sine * sine)
    azimuth = np.arcsin(sine)
    alpha = np.minimum(np.maximum(width + 0.5 - np.abs(x), 0), 1)
    columns = texture.shape[1]
    map_x = (azimuth - yaw) * (columns / (2 * np.pi)) + (columns - 1) / 2
    map_x = np.mod(map_x, columns).astype(np.float32)
    map_y = np.broadcast_to(along[:, None], map_x.shape)
    lit = 0.5 + (0.5 * cos(light.azimuth)) * toward + (0.5 * sin(light.azimuth)) * sine
    shade = 1.0 - light.hardness * (1 - lit) - 0.16 * (sine * sine) ** 2
    out = np.empty((*map_x.shape, 4), np.float32)
    out[..., :3] = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) * (shade * alpha)[..., None]
    out[..., 3] = alpha
    return out


def paste(canvas: Floats, patch: Floats, origin: tuple[float, float], direction: tuple[float, float]) -> None:
    """Lay a patch over the canvas, in place.

    Args:
        canvas: (H, W, 4) premultiplied.
        patch: (h, w, 4) premultiplied; the middle of its first row comes to lie at ``origin``.
        origin: x, y in the canvas, pixels.
        direction: unit vector x, y along which the patch's rows run; (0, 1) is upright.
    """
    rows, columns = patch.shape[:2]
    dx, dy = direction
    centre = (columns - 1) / 2
    # Columns run along (dy, -dx), so that an upright patch keeps its left and right.
    corners_x = [origin[0] + r * dx + c * dy for r in (0, rows) for c in (-centre, centre)]
    corners_y = [origin[1] + r * dy - c * dx for r in (0, rows) for c in (-centre, centre)]
    x0, x1 = max(int(np.floor(min(corners_x))) - 1, 0), min(int(np.ceil(max(corners_x))) + 2, canvas.shape[1])
    y0, y1 = max(int(np.floor(min(corners_y))) - 1, 0), min(int(np.ceil(max(corners_y))) + 2, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    to_canvas = np.array(
        [[dy, dx, origin[0] - centre * dy - x0], [-dx, dy, origin[1] + centre * dx - y0]],
        dtype=np.float64,
    )
    warped = cv2.warpAffine(patch, to_canvas, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    region = canvas[y0:y1, x0:x1]
    region *= 1.0 - warped[..., 3:]
    region += warped
