"""Pictures of people of random stripes, which the tiny model tells apart most of the time."""

from pathlib import Path

import cv2
import numpy as np

from tests.serving.tiny_models import HEIGHT, WIDTH

PATTERN = r"^(?P<identity>p\d+)_c(?P<camera>\d)_"
PEOPLE, CAMERAS, SHOTS = 8, 3, 2


def pictures(folder: Path) -> Path:
    """People of random stripes; every camera adds its own noise, so that the model errs now and then."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    for person in range(PEOPLE):
        look = rng.integers(90, 160, (HEIGHT, 1, 3))
        for camera in range(1, CAMERAS + 1):
            for shot in range(SHOTS):
                image = np.clip(
                    look + rng.normal(0, 26, (HEIGHT, 1, 3)) + rng.normal(0, 5, (HEIGHT, WIDTH, 3)), 0, 255
                )
                cv2.imwrite(str(folder / f"p{person:02}_c{camera}_{shot}.png"), image.astype(np.uint8))
    return folder
