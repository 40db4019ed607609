"""Footage of a fixed camera in which little happens, and everything that may pass for something."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from tests.serving.numbered import encode
from tests.serving.tiny_footage import WIDTH, Walk, background, draw, person

FRAMES = 240  # 24 s
FAR = (10, 28)  # width and height of somebody far away
Image = np.ndarray
_STANDS = [Walk("anna", (160, 170), (0, 0), 1, FRAMES)]
_LATE = [Walk("anna", (-12, 150), (3.5, 0), 110, 210)]


def _people(walks: Sequence[Walk]) -> Callable[[int], Image]:
    return lambda number: draw(number, list(walks))


def _walks_in_and_stands(number: int) -> Image:
    walk = Walk("anna", (-12, 150), (4, 0), 60, 100)
    return draw(min(number, 100), [walk]) if number < 180 else draw(101, [walk])


def _far(number: int) -> Image:
    image = background()
    x = 250 - 2 * (number - 100)
    if number >= 100 and 0 <= x < WIDTH - FAR[0]:
        image[60 : 60 + FAR[1], x : x + FAR[0]] = cv2.resize(
            person("anna"), FAR, interpolation=cv2.INTER_AREA
        )
    return image


def _night(number: int) -> Image:
    noise = np.random.default_rng(number).normal(0, 9, (*background().shape[:2], 1))
    return np.clip(draw(number, _LATE) * 0.75 + noise, 0, 255).astype(np.uint8)


def _light_switched(number: int) -> Image:
    walks = [Walk("anna", (200, 170), (0, 0), 90, 230)]
    return (draw(number, walks) * (0.8 if 120 <= number < 180 else 1.0)).astype(np.uint8)


def _flicker(number: int) -> Image:
    bands = 1 + 0.03 * np.sin(np.arange(background().shape[0]) / 20 + 2.4 * number)
    return np.clip(draw(number, _LATE) * bands[:, None, None], 0, 255).astype(np.uint8)


@cache
def _wide() -> Image:
    return background(4 * WIDTH)


def _moving_camera(number: int) -> Image:
    image = _wide()[:, 3 * number : 3 * number + WIDTH].copy()
    image[90:154, 150:174] = person("anna")
    return image


def _moved_camera(number: int) -> Image:
    """In frame 120 the camera is turned by 60 pixels for good; somebody walks before and after."""
    left = 0 if number < 120 else 60
    image = _wide()[:, left : left + WIDTH].copy()
    for first in (60, 170):
        if first <= number < first + 50:
            x = 60 + 3 * (number - first)
            image[90:154, x : x + 24] = person("anna")
    return image


def _same_brightness(number: int) -> Image:
    """From frame 60 to 200 somebody stands there as bright as the ground, whom only her colour tells."""
    image = np.full((*background().shape[:2], 3), 120, np.uint8)
    if 60 <= number <= 200:
        image[90:154, 150:174] = cv2.cvtColor(
            np.full((64, 24, 3), (120, 220, 60), np.uint8), cv2.COLOR_YCrCb2BGR
        )
    return image


# name: the pictures by number, from 1, and options of the encoder
SCENES: dict[str, tuple[Callable[[int], Image], dict[str, object]]] = {
    "nobody": (_people([]), {}),
    "walks through": (_people(_LATE), {}),
    "stands from the first frame": (_people(_STANDS), {}),
    "walks in and stands": (_walks_in_and_stands, {}),
    "enters slowly": (_people([Walk("anna", (-12, 150), (0.4, 0), 60, FRAMES)]), {}),
    "small and far": (_far, {}),
    "night": (_night, {"qmin": 6, "qmax": 12}),
    "light switched": (_light_switched, {}),
    "flicker": (_flicker, {}),
    "pulses": (_people(_LATE), {"qmin": 14, "qmax": 14, "g": 12}),
    "moving camera": (_moving_camera, {}),
    "moved camera": (_moved_camera, {}),
    "as bright as the ground": (_same_brightness, {}),
}


def write_scene(path: Path, name: str, frames: int = FRAMES) -> Path:
    """The scene as a file of MPEG-4."""
    picture, options = SCENES[name]
    images = [picture(number) for number in range(1, frames + 1)]
    return encode(path, images, "mpeg4", **({"qmin": 1, "qmax": 3} | options))
