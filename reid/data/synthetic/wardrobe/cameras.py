"""Cameras that differ as real ones do: where they hang, the light on their place, what they make of it."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import atan2, cos, pi, sin, tan

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.seeds import generator
from reid.data.synthetic.surface import LUMA
from reid.data.synthetic.wardrobe.fabric import Floats, clouds
from reid.data.synthetic.wardrobe.h264 import through_h264
from reid.data.synthetic.wardrobe.recorder import Moment, Recorder, build_recorder, darken_edges, slant, smear
from reid.data.synthetic.wardrobe.scenery import Image
from reid.data.synthetic.wardrobe.spec import WardrobeSpec

__all__ = ["Light", "Place", "build_place", "nearer", "respond"]

_FIELD = 512  # side of the noise that is drawn, pixels


@dataclass(frozen=True, slots=True)
class Light:
    """``toward`` the light, a unit vector right, down and to the camera; RGB factors of what is lit and of
    what is in its shade; how dark its shadows are.
    """

    toward: tuple[float, float, float]
    key: tuple[float, float, float]
    ambient: tuple[float, float, float]
    shadow: float


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A camera over its place.

    Attributes:
        distance: from people, body heights.
        pitch: how far it looks down, radians.
        base: where the ground ends, as a share of a crop's height from its top.
        toward: which way people mostly walk, radians; 0 to the camera.
        spread: how far from that way, standard deviation, radians.
        mixing: (3, 4) linear response of RGB in [0, 255].
        curve: (1, 256, 3) uint8, the tone curve of each colour.
        keeps: range of the share of pixels that the optics resolve.
        sharpening: of edges.
        motion: how far people move while exposed, pixels.
        noise: standard deviation, grey levels.
        quality: range of JPEG's.
        dapples: how dark the spots of shade that fall on people are.
        loose: mean of what the boxes leave around people, shares of their height.
        aspect: narrowest box, width over height; people who need more get more.
        recorder: its lens, shutter and coder.
        size: of whom it looks at, of a grown-up's height.
    """

    distance: float
    pitch: float
    base: float
    toward: float
    spread: float
    light: Light
    mixing: npt.NDArray[np.float64]
    curve: Image
    keeps: tuple[float, float]
    sharpening: float
    motion: float
    noise: float
    quality: tuple[int, int]
    dapples: float
    loose: float
    aspect: float
    recorder: Recorder
    size: float = 1.0


def build_place(spec: WardrobeSpec, number: int) -> Place:
    """The camera of this number."""
    rng = generator(spec.seed, "wardrobe camera", number)
    above = float(rng.choice((rng.uniform(-0.1, 0.5), rng.uniform(0.5, 2.5))))
    distance = float(rng.uniform(3.0, 11.0))
    keeps = 1 - spec.optics * max(0.0, float(rng.uniform(-0.3, 0.55)))
    quality = 96 - spec.optics * float(rng.uniform(4, 66))
    return Place(
        distance=distance,
        pitch=atan2(above, distance),
        # The horizon is at the camera's own height; walls may hide the far ground.
        base=float(np.clip(0.42 - 0.5 * above + rng.uniform(-0.05, 0.45), -0.3, 0.8)),
        toward=float(rng.uniform(-pi, pi)),
        spread=float(rng.choice((0.35, 0.8, 3.0))),
        light=_light(rng, spec.light),
        mixing=_mixing(rng, spec.response),
        curve=_curve(rng, spec.response),
        keeps=(max(0.2, keeps - 0.12 * spec.optics), min(1.0, keeps + 0.12)),
        sharpening=spec.optics * float(max(0.0, rng.uniform(-0.4, 2.2))),
        motion=spec.optics * float(max(0.0, rng.uniform(-4.0, 2.6))),
        noise=spec.optics * float(rng.uniform(0.5, 8.0)),
        quality=(int(quality - 8 * spec.optics), int(quality + 3)),
        dapples=spec.light * float(max(0.0, rng.uniform(-0.9, 0.55))),
        loose=float(rng.uniform(0.0, 0.07)),
        aspect=float(rng.uniform(0.26, 0.5)),
        recorder=build_recorder(spec, number),
    )


def nearer(place: Place, size: float) -> Place:
    """The same camera as it looks at somebody of this share of a grown-up's height: further down, from more
    of their body heights away, with fewer pixels; and more of their crop is ground.
    """
    if size == 1:
        return place
    above = place.distance * tan(place.pitch) + 0.5 * (1 - size)
    return replace(
        place,
        distance=place.distance / size,
        pitch=atan2(above, place.distance),
        base=float(np.clip(1 - (1 - place.base) / size, -0.3, 0.8)),
        keeps=(max(0.2, place.keeps[0] * size), place.keeps[1] * size),
        size=size,
    )


def _light(rng: np.random.Generator, share: float) -> Light:
    azimuth, height = float(rng.uniform(-pi, pi)), float(rng.uniform(0.25, 1.3))
    hard = share * float(rng.uniform(0.05, 0.75))
    warm = share * float(rng.normal(0, 0.11))
    key = hard * np.exp(np.array([warm, 0, -warm]))
    ambient = (1 - 0.48 * hard) * np.exp(np.array([-0.7 * warm, 0, 0.7 * warm]))
    toward = (sin(azimuth) * cos(height), -sin(height), cos(azimuth) * cos(height))
    lit, dark = key.tolist(), ambient.tolist()
    return Light(toward, (lit[0], lit[1], lit[2]), (dark[0], dark[1], dark[2]), hard)


def _mixing(rng: np.random.Generator, share: float) -> npt.NDArray[np.float64]:
    warm, tint = share * rng.normal(0, 0.09), share * rng.normal(0, 0.04)
    balance = np.exp([warm, -tint, -warm] + share * rng.normal(0, 0.03, 3))
    saturation = 1 + share * (float(rng.uniform(0.35, 1.45)) - 1)
    colour = saturation * np.eye(3) + (1 - saturation) * LUMA[None]
    haze = share * max(0.0, float(rng.uniform(-0.2, 0.18)))
    gain = np.exp(share * rng.normal(0.0, 0.24))
    matrix = gain * (1 - haze) * np.diag(balance) @ colour
    # What is black takes on a colour of its own, which need not be that of white.
    veil = 255 * haze * balance * np.exp(rng.normal(0, 0.3, 3)) * float(rng.uniform(0.4, 0.9))
    return np.hstack([matrix, veil[:, None]])


def _curve(rng: np.random.Generator, share: float) -> Image:
    gamma = np.exp(share * (rng.normal(-0.12, 0.24) + rng.normal(0, 0.07, 3)))
    x = np.linspace(0, 1, 256)[:, None] ** gamma
    contrast = share * float(rng.uniform(-0.1, 0.7))
    x = (1 - contrast) * x + contrast * (x * x * (3 - 2 * x))
    return np.asarray(np.clip(255 * x, 0, 255).round(), np.uint8)[None]


@lru_cache(maxsize=4)
def _noise_field(seed: int, times: int) -> npt.NDArray[np.float32]:
    """(side, side, 3), a side ``times`` that of the field that is drawn, which is then repeated."""
    if times > 1:
        return np.tile(_noise_field(seed, 1), (times, times, 1))
    rng = generator(seed, "wardrobe noise")
    fine = rng.normal(0, 1, (_FIELD, _FIELD, 3)).astype(np.float32)
    # Sensors' noise comes in grains after their own interpolation, most of it alike in all colours.
    grains = cv2.GaussianBlur(fine, (0, 0), 0.7)
    return np.asarray(
        0.6 * grains / grains.std() + 0.8 * clouds(rng, _FIELD, _FIELD, 1.5)[..., None], np.float32
    )


def respond(
    image: Floats, place: Place, spec: WardrobeSpec, rng: np.random.Generator, moment: Moment
) -> Image:
    """What the camera makes of a scene (H, W, 3) float32 RGB in [0, 255]: uint8 of the same shape."""
    height, width = image.shape[:2]
    recorder, panned = place.recorder, moment.panning * place.recorder.turning * place.distance
    if recorder.fall_off:
        darken_edges(image, recorder, moment, place.distance)
    if recorder.readout_s and panned:
        image = smear(slant(image, recorder, panned, place.distance), recorder, panned)
    drift = np.exp(spec.response * (rng.normal(0, 0.09) + rng.normal(0, 0.025, (3, 1))))
    seen = cv2.transform(image, place.mixing * drift)
    if place.motion > 0.6:
        length = 1 + 2 * int(rng.uniform(0, place.motion))
        seen = cv2.blur(seen, (length, 1))
    keeps = float(rng.uniform(*place.keeps))
    if keeps < 0.97:
        small = (max(8, round(width * keeps)), max(16, round(height * keeps)))
        seen = cv2.resize(seen, small, interpolation=cv2.INTER_AREA)
    if place.sharpening > 0.05:
        seen = seen + place.sharpening * (seen - cv2.GaussianBlur(seen, (0, 0), 1.0))
    if place.noise > 0.3:
        field = _noise_field(spec.seed, 1 + max(seen.shape[:2]) // _FIELD)
        y, x = (int(rng.integers(len(field) - side)) for side in seen.shape[:2])
        seen = seen + place.noise * field[y : y + seen.shape[0], x : x + seen.shape[1]]
    pixels: Image = cv2.LUT(np.clip(seen, 0, 255).astype(np.uint8), place.curve)
    quality = int(rng.integers(place.quality[0], place.quality[1] + 1))
    if recorder.quantiser is not None:
        pixels = through_h264(pixels, recorder.quantiser, moment.corner, (height, width))
    elif quality < 95:
        _, code = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
        pixels = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return pixels
