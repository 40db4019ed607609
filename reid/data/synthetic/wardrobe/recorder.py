"""What lens, shutter and coder of a camera do besides: dark edges, slanted movement, H.264."""

from dataclasses import dataclass
from math import radians, tan

import cv2
import numpy as np

from reid.data.synthetic.seeds import generator
from reid.data.synthetic.wardrobe.fabric import Floats
from reid.data.synthetic.wardrobe.spec import WardrobeSpec

__all__ = ["Moment", "Recorder", "build_recorder", "darken_edges", "draw_moment", "slant", "smear"]

_TALL = 9 / 16  # a frame's height over its width
_CODED = 0.6  # of the cameras, at most, send H.264
_DISPLAYED = 1 / 2.2  # light falls off in proportion, and the renderer's values are those of a display


@dataclass(frozen=True, slots=True)
class Recorder:
    """A camera's lens, shutter and coder.

    Attributes:
        reach: half the frame's width, in focal lengths.
        fall_off: how much of the natural vignetting is left uncorrected; 0: none of it.
        readout_s: from the first row of a frame to the last; 0: all at once.
        exposure_s: of each row.
        turning: standard deviation of how fast the camera pans, radians a second.
        quantiser: of H.264; None: the camera sends JPEG.
    """

    reach: float
    fall_off: float
    readout_s: float
    exposure_s: float
    turning: float
    quantiser: int | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Of one crop: where in the frame it lies, across and down from -1 to 1; how fast the person walks to the
    right, body heights a second; how fast the camera pans, in its ``turning``; and the column and row, 0 to
    15, at which the crop begins in the coder's blocks.
    """

    across: float
    down: float
    walking: float
    panning: float
    corner: tuple[int, int]


def build_recorder(spec: WardrobeSpec, number: int) -> Recorder:
    """That of the camera of this number; what one option makes of it does not depend on the others."""
    rng = generator(spec.seed, "wardrobe recorder", number)
    angle, uncorrected, readout, exposure, pans, turning, codes, quantiser = rng.random(8).tolist()
    share = spec.rolling_shutter
    return Recorder(
        reach=tan(radians(22 + 33 * angle)),
        fall_off=spec.vignette * uncorrected,
        readout_s=share * (0.008 + 0.025 * readout),
        exposure_s=share * (0.001 + 0.007 * exposure),
        turning=(0.15 + 0.75 * turning) * (pans < 0.4),
        quantiser=int(24 + 19 * quantiser) if codes < _CODED * spec.h264 else None,
    )


def draw_moment(rng: np.random.Generator) -> Moment:
    """A crop's own circumstances."""
    across, down = rng.uniform(-1, 1, 2).tolist()
    walking, panning = rng.normal(0, 1, 2).tolist()
    left, top = rng.integers(0, 16, 2).tolist()
    return Moment(across, down, 0.5 * walking, panning, (left, top))


def darken_edges(image: Floats, recorder: Recorder, moment: Moment, distance: float) -> None:
    """Natural vignetting in place: light falls off with the fourth power of the cosine of the angle to the
    axis, whose centre is the frame's, seldom the crop's.

    Args:
        image: (H, W, 3).
        recorder, moment: of the crop.
        distance: at which a body height, as tall as the crop, is seen; body heights.
    """
    height, width = image.shape[:2]
    tall, wide = 1 / distance, width / height / distance
    x = moment.across * max(0.0, recorder.reach - wide / 2) + wide * np.linspace(-0.5, 0.5, width)
    y = moment.down * max(0.0, recorder.reach * _TALL - tall / 2) + tall * np.linspace(-0.5, 0.5, height)
    # cos^4 of the angle whose tangent is r: (1 + r^2)^-2
    squares = (1 + (x * x)[None] + (y * y)[:, None]).astype(np.float32)
    image *= np.power(squares, np.float32(-2 * recorder.fall_off * _DISPLAYED))[..., None]


def slant(image: Floats, recorder: Recorder, speed: float, distance: float) -> Floats:
    """Rows are read one after the other: what moves meanwhile is slanted.

    Args:
        image: (H, W, C), as tall as a body.
        recorder: of the camera.
        speed: to the right, body heights a second.
        distance: from the camera, body heights.
    """
    height, width = image.shape[:2]
    share = min(1.0, 1 / (2 * distance * recorder.reach * _TALL))  # of the frame's rows
    total = speed * recorder.readout_s * share * height
    if abs(total) < 0.2:
        return image
    # Inverse map: a row shows what was further left by what has been moved since the middle row.
    back = np.array([[1, -total / height, total / 2], [0, 1, 0]])
    edge = cv2.BORDER_REPLICATE if image.shape[2] == 3 else cv2.BORDER_CONSTANT
    return cv2.warpAffine(
        image, back, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=edge
    )


def smear(image: Floats, recorder: Recorder, speed: float) -> Floats:
    """Every row is exposed while things move on: along the row alone."""
    length = 1 + 2 * round(abs(speed) * recorder.exposure_s * image.shape[0] / 2)
    return cv2.blur(image, (length, 1)) if length > 1 else image
