"""Clocks and the light of the day."""

from datetime import datetime, timedelta
from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.seeds import generator
from reid.data.synthetic.spec import TownSpec

__all__ = ["camera_starts", "hour_of", "hour_of_day", "in_daylight"]

_MORNING, _DAWN = datetime(2024, 3, 4, 8, 0), datetime(2024, 3, 4, 6, 30)
_DAY_S = 14 * 3600.0
_NEXT_CAMERA_S = (60, 600)


def camera_starts(spec: TownSpec) -> list[datetime]:
    """When each camera's footage begins: one moment for overlapping views and a passage; for disjoint ones
    each after the one before it has ended.

    A town with daylight is filmed from dawn to dusk, another within the morning.
    """
    rng = generator(spec.seed, "clocks")
    first = _DAWN if spec.daylight > 0 else _MORNING
    if spec.views != "disjoint":
        return [
            first + timedelta(seconds=int(rng.uniform(0, _DAY_S)) if spec.daylight > 0 else 0)
        ] * spec.cameras
    gaps = rng.integers(*_NEXT_CAMERA_S, spec.cameras) + max(
        0, ceil(spec.footage_seconds) - _NEXT_CAMERA_S[0]
    )
    longer = max(1.0, _DAY_S / gaps.sum()) if spec.daylight > 0 else 1.0
    return [first + timedelta(seconds=int(seconds)) for seconds in np.cumsum(gaps) * longer]


def hour_of_day(moment: datetime) -> float:
    """Hours since midnight."""
    return moment.hour + moment.minute / 60 + moment.second / 3600


def hour_of(seed: int, identity: int, camera_number: int, n: int) -> float:
    """The hour, 6 to 21, at which a crop is taken where the town has daylight."""
    return float(generator(seed, "hour", identity, camera_number, n).uniform(6.0, 21.0))


def in_daylight(scene: npt.NDArray[np.uint8], hour: float, strength: float) -> npt.NDArray[np.uint8]:
    """A scene (H, W, 3) uint8 RGB at an hour: as it is at 13:30, darker and redder towards morning and
    evening, alike all night.
    """
    # of the sun, 1 at its highest, 0 at 6 and at 21
    height = np.cos((min(max(hour, 6.0), 21.0) - 13.5) / 7.5 * np.pi / 2)
    low = strength * (1.0 - height)
    gain = np.array([1.0 - 0.45 * low, 1.0 - 0.58 * low, 1.0 - 0.72 * low])
    return cv2.convertScaleAbs(scene * gain)
