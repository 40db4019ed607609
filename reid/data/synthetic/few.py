"""The few rendered people that a model file is tried on where nobody gives pictures."""

import numpy as np
import numpy.typing as npt

from reid.data.synthetic.crops import render_crop
from reid.data.synthetic.spec import TownSpec
from reid.images import resize

__all__ = ["rendered_people"]

_PEOPLE, _CAMERAS, _SEED = 4, 2, 20260
_SMALLEST = 32  # that people are rendered at, in pixels; models may take smaller ones


def rendered_people(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Four people in two cameras, uint8 ``(8, height, width, 3)``, RGB; the same at every call."""
    high, wide = max(_SMALLEST, height), max(_SMALLEST, width)
    town = TownSpec(
        people=_PEOPLE, cameras=_CAMERAS, footage_people=1, seed=_SEED, image_height=high, image_width=wide
    )
    seats = [(person, camera) for person in range(1, _PEOPLE + 1) for camera in range(1, _CAMERAS + 1)]
    return np.stack([resize(render_crop(town, person, camera, 0), height, width) for person, camera in seats])
