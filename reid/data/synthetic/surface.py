"""Small pieces of a body as patches: a round limb or torso whose texture turns with the body, anti-aliased
and shaded.

Patches are float32 (h, w, 4), RGB premultiplied by alpha, all in [0, 1].
"""

from dataclasses import dataclass
from math import ceil, cos, floor, pi, sin

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "LUMA",
    "TEXTURE_COLUMNS",
    "Facing",
    "Floats",
    "Light",
    "face",
    "floats",
    "paste",
    "round_patch",
    "tube_profile",
]

Floats = npt.NDArray[np.float32]
TEXTURE_COLUMNS, _HALF = 192, 256
LUMA = np.array([0.299, 0.587, 0.114])
"""The luminance's share of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True)
class Light:
    """Where light comes from (azimuth seen from the camera, radians, 0 behind it and positive to the right)
    and how hard it is (0 to 1).
    """

    azimuth: float
    hardness: float


def floats(values: npt.ArrayLike) -> Floats:
    """``values`` as float32."""
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Facing:
    """Which part of a round surface is seen, and how bright, at 2 x 256 + 1 places across it from its left
    edge to its right.

    Attributes:
        columns: (513,) float32, columns of a texture `TEXTURE_COLUMNS` wide.
        shade: (513,) float32, what colours are multiplied by.
    """

    columns: Floats
    shade: Floats


def face(yaw: float, light: Light) -> Facing:
    """What is seen of surfaces turned by ``yaw`` (radians; 0 shows a texture's middle) under a light."""
    sine = np.linspace(-1, 1, 2 * _HALF + 1)
    turned = (np.arcsin(sine) - yaw) * (TEXTURE_COLUMNS / (2 * pi)) + (TEXTURE_COLUMNS - 1) / 2
    lit = 0.5 + 0.5 * cos(light.azimuth) * np.sqrt(1 - sine**2) + 0.5 * sin(light.azimuth) * sine
    # Dark edges set limbs off from the body behind them.
    return Facing(
        floats(np.mod(turned, TEXTURE_COLUMNS)), floats(1.0 - light.hardness * (1 - lit) - 0.16 * sine**4)
    )


def tube_profile(length: float, start: float, end: float) -> Floats:
    """Half-widths (rows,) in pixels of a limb with round ends, from ``start`` before its first joint to
    ``end`` past its last.
    """
    rows = np.arange(ceil(length + start + end) + 1, dtype=np.float32) - start
    inside = np.minimum(np.maximum(rows, 0), length)
    straight = start + (end - start) / max(length, 1e-3) * inside
    return np.sqrt(np.maximum(straight**2 - (rows - inside) ** 2, 0))


def round_patch(half_width: Floats, surface: Floats, along: Floats, facing: Facing) -> Floats:
    """Draw an upright body of revolution.

    Args:
        half_width: (rows,) pixels.
        surface: a texture (v, `TEXTURE_COLUMNS`, 3) whose columns run around the body from back over right,
            front and left to back;
            or one colour (3,).
        along: (rows,) which row of the texture each row shows.
        facing: how the body is turned and lit.

    Returns:
        (rows, 2c + 1, 4) with the axis in column c = ceil(max half_width) + 1.
    """
    centre = ceil(float(half_width.max())) + 1
    x = np.arange(-centre, centre + 1, dtype=np.float32)
    width = np.maximum(half_width, 1e-3)[:, None]
    place = np.minimum(np.maximum(x * (_HALF / width), -_HALF), _HALF).astype(np.int32) + _HALF
    alpha = np.minimum(np.maximum(width + 0.5 - np.abs(x), 0), 1)
    weight = facing.shade[place] * alpha
    out = np.empty((*place.shape, 4), np.float32)
    if surface.ndim == 1:
        np.multiply(weight[..., None], surface, out=out[..., :3])
    else:
        map_y = np.repeat(along[:, None], place.shape[1], axis=1)
        colours = cv2.remap(
            surface, facing.columns[place], map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        np.multiply(weight[..., None], colours, out=out[..., :3])
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
    x0, x1 = max(floor(min(corners_x)) - 1, 0), min(ceil(max(corners_x)) + 2, canvas.shape[1])
    y0, y1 = max(floor(min(corners_y)) - 1, 0), min(ceil(max(corners_y)) + 2, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    to_canvas = np.array(
        [[dy, dx, origin[0] - centre * dy - x0], [-dx, dy, origin[1] + centre * dx - y0]],
        dtype=np.float64,
    )
    warped = cv2.warpAffine(
        patch, to_canvas, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    region = canvas[y0:y1, x0:x1]
    region *= 1.0 - warped[..., 3:]
    region += warped
