"""The town's cameras: where they look from, and what they make of the light.

Each camera has a focal length, a height over the ground and a horizon, so that a person's size and foot point
follow from where they stand; and a response (white balance, saturation, haze, gamma, sharpness, noise,
compression) that differs more between cameras than people's clothes do. That difference is what a
re-identification model has to learn to ignore.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import atan2

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.seeds import generator
from reid.data.synthetic.surface import LUMA, Light

__all__ = ["Camera", "build_camera", "respond"]

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Style:
    """What a place does to colour; the camera's own tolerance comes on top."""

    balance: tuple[float, float, float]
    gain: float
    saturation: float
    haze: float
    gamma: float
    sharpness: float
    hardness: float
    toward: float


# Sunlit square, lamplit arcade, misty park, underpass with tubes: neighbours differ most. ``toward`` is where
# people mostly walk.
_STYLES = (
    _Style((1.00, 1.00, 1.04), 1.12, 1.05, 0.00, 1.00, 1.0, 0.55, 0.0),
    _Style((1.20, 0.96, 0.70), 0.92, 0.80, 0.03, 1.10, 0.8, 0.35, 0.7),
    _Style((0.86, 1.00, 1.16), 0.92, 0.62, 0.14, 1.00, 0.7, 0.25, -0.7),
    _Style((0.88, 1.12, 0.86), 0.80, 0.75, 0.06, 1.25, 0.7, 0.40, 0.4),
)


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera. Lengths on the ground are metres, in the image pixels.

    Attributes:
        near, far: where people walk, as pixels a metre measures there.
        toward: 1 when everybody walks towards the camera, -1 when away, 0 across.
        mixing: (3, 4) rows of the linear colour response of RGB in [0, 255].
        sharpness: share of the resolution that the optics keep.
        noise: standard deviation, grey levels.
    """

    number: int
    width: int
    height: int
    near: float
    far: float
    focal: float
    mount: float
    horizon: float
    toward: float
    light: Light
    mixing: tuple[tuple[float, float, float, float], ...]
    gamma: float
    sharpness: float
    noise: float
    jpeg_quality: int
    seed: int

    def foot(self, x: float, z: float) -> tuple[float, float, float]:
        """Image x and y of a point on the ground, ``x`` metres right of the axis and ``z`` away, and pixels
        per metre there.
        """
        scale = self.focal / z
        return self.width / 2 + scale * x, self.horizon + scale * self.mount, scale

    def pitch(self, z: float) -> float:
        """How far down the camera looks at somebody ``z`` metres away, radians."""
        return atan2(self.mount - 1.0, z) + 0.06

    @property
    def style(self) -> int:
        """Which kind of place this is."""
        return (self.number - 1) % len(_STYLES)


@lru_cache(maxsize=64)
def build_camera(seed: int, number: int, width: int, height: int) -> Camera:
    """The town's camera of that number (from 1 on) for footage of the given size."""
    rng = generator(seed, "camera", number)
    style = _STYLES[(number - 1) % len(_STYLES)]
    near, far, mount = 0.24 * height, 0.165 * height, float(rng.uniform(2.3, 3.0))
    return Camera(
        number=number,
        width=width,
        height=height,
        near=near,
        far=far,
        focal=3.0 * height,
        mount=mount,
        horizon=0.955 * height - near * mount,
        toward=style.toward,
        light=Light(float(rng.uniform(0.4, 1.2) * rng.choice((-1, 1))), style.hardness),
        mixing=_mixing(style, rng),
        gamma=style.gamma * float(rng.uniform(0.93, 1.08)),
        sharpness=style.sharpness * float(rng.uniform(0.9, 1.0)),
        noise=float(rng.uniform(1.2, 2.2)),
        jpeg_quality=int(rng.integers(52, 82)),
        seed=seed,
    )


def _mixing(style: _Style, rng: np.random.Generator) -> tuple[tuple[float, float, float, float], ...]:
    balance = np.array(style.balance) * rng.uniform(0.95, 1.05, 3)
    colour = style.saturation * np.eye(3) + (1 - style.saturation) * LUMA[None]
    matrix = style.gain * (1 - style.haze) * np.diag(balance) @ colour
    veil = 255 * style.haze * balance / balance.max()
    rows = np.hstack([matrix, veil[:, None]]).round(5).tolist()
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in rows)


def respond(image: Image, camera: Camera, rng: np.random.Generator, drift: float = 0.0) -> Image:
    """What the camera makes of a scene.

    Args:
        image: (H, W, 3) uint8 RGB.
        camera: whose response.
        rng: for this image's noise and drift.
        drift: spread of the exposure and the white balance between one image and the next; 0 for frames of
            one video.
    """
    mixing = np.array(camera.mixing)
    if drift > 0:
        mixing = mixing * np.exp(rng.normal(0, drift) + rng.normal(0, drift / 2.5, (3, 1)))
    height, width = image.shape[:2]
    seen = cv2.LUT(cv2.transform(image, mixing), _curve(camera.gamma))
    if camera.sharpness < 0.97:
        small = (max(2, round(width * camera.sharpness)), max(2, round(height * camera.sharpness)))
        seen = cv2.resize(
            cv2.resize(seen, small, interpolation=cv2.INTER_AREA),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        )
    field = _noise_field(camera.seed, camera.number, camera.noise, camera.height + 64, camera.width + 64)
    y, x = int(rng.integers(field.shape[0] - height + 1)), int(rng.integers(field.shape[1] - width + 1))
    return cv2.add(seen, field[y : y + height, x : x + width], dtype=cv2.CV_8U)


@lru_cache(maxsize=64)
def _curve(gamma: float) -> Image:
    return np.round(255 * np.linspace(0, 1, 256) ** gamma).astype(np.uint8)


@lru_cache(maxsize=16)
def _noise_field(seed: int, number: int, spread: float, height: int, width: int) -> npt.NDArray[np.int16]:
    """Sensor noise drawn once; an image takes a window of it, which costs far less than drawing its own."""
    return generator(seed, "noise", number).normal(0, spread, (height, width, 3)).round().astype(np.int16)
