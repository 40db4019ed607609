"""How large a synthetic town is. Torch-free."""

from dataclasses import dataclass
from typing import Literal, get_args

from reid.errors import UsageError

__all__ = ["TownSpec", "Views"]

Views = Literal["disjoint", "overlapping", "passage"]

_LEAST: dict[str, float] = {
    "people": 2,
    "cameras": 2,
    "images_per_camera": 1,
    "image_height": 32,
    "image_width": 16,
    "footage_seconds": 6.0,
    "footage_fps": 2,
    "footage_people": 1,
    "footage_width": 160,
    "footage_height": 120,
    "seed": 0,
    "clothes_change": 0.0,
    "daylight": 0.0,
    "crowd": 0.0,
    "occluders": 0.0,
    "compression": 0.0,
    "look_alikes": 0.0,
}
_SHARES = ("clothes_change", "daylight", "crowd", "occluders", "compression", "look_alikes")
_SECONDS_IN_VIEW, _MOST_IN_VIEW = 4.4, 5.0


@dataclass(frozen=True, slots=True)
class TownSpec:
    """What to render. Sizes are pixels; a person in the footage is 0.25 to 0.47 of ``footage_height`` tall.

    ``views`` says how the cameras of the footage stand: ``disjoint``, each at a place of its own and at
    another time, so that nobody is in two of them at once, ``overlapping``, around one place, so that all
    see the same people at the same moment, or ``passage``, along one street that everybody walks from one end
    to the other, on one clock and with ways between that nobody sees. Crops are alike in all.

    Shares from 0 to 1 make the town harder; 0, the default, leaves every byte as it is without them:

    - ``clothes_change``: of the people, who wear another outfit (body, skin and hair stay) in the second half
      of their images of each camera, and in the footage of the second half of the cameras, or of all where
      views overlap;
    - ``daylight``: how far brightness and colour move through the day, at 1 from noon to dusk; each crop has
      an hour, and each video the hour its camera started at;
    - ``crowd``: of the crops, which show two or three others; in the footage two passers-by (identities from
      10000 on) for each person;
    - ``occluders``: how much stands between the cameras and the people: trunks and hedges, four in a view at
      1;
    - ``compression``: how far below the cameras' own quality crops and videos are compressed;
    - ``look_alikes``: of the people in the footage, who have somebody there dressed alike, as far as the town
      has such people to choose.

    Raises:
        UsageError: a field is too small, too large for another, or not a number of its type.
    """

    people: int = 120
    cameras: int = 3
    images_per_camera: int = 4
    image_height: int = 128
    image_width: int = 64
    footage_seconds: float = 16.0
    footage_fps: int = 10
    footage_people: int = 8
    footage_width: int = 480
    footage_height: int = 360
    seed: int = 7
    clothes_change: float = 0.0
    daylight: float = 0.0
    crowd: float = 0.0
    occluders: float = 0.0
    compression: float = 0.0
    look_alikes: float = 0.0
    views: Views = "disjoint"

    def __post_init__(self) -> None:
        if self.views not in get_args(Views):
            raise UsageError(
                f"synthetic town: views is {self.views!r}, want one of {', '.join(get_args(Views))}"
            )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            number = (int, float) if isinstance(least, float) else (int,)
            if not isinstance(value, number) or isinstance(value, bool) or not least <= value < 1e6:
                kind = "number" if isinstance(least, float) else "whole number"
                raise UsageError(f"synthetic town: {name} is {value!r}, want a {kind} from {least} on")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise UsageError(f"synthetic town: {name} is {getattr(self, name)}, want a share from 0 to 1")
        if self.people > 9999:
            raise UsageError(
                f"synthetic town: people is {self.people}, want at most 9999: names have four digits"
            )
        if self.footage_people > self.people:
            raise UsageError(
                f"synthetic town: footage_people is {self.footage_people}, more than the {self.people} "
                "people there are"
            )
        for name in ("footage_width", "footage_height"):
            if getattr(self, name) % 2:
                raise UsageError(
                    f"synthetic town: {name} is {getattr(self, name)}, want an even number: video "
                    "stores colour at half size"
                )
        if self.footage_people * _SECONDS_IN_VIEW > _MOST_IN_VIEW * (self.footage_seconds - 1):
            longer = 1 + self.footage_people * _SECONDS_IN_VIEW / _MOST_IN_VIEW
            raise UsageError(
                f"synthetic town: footage_seconds is {self.footage_seconds}, too short for "
                f"footage_people {self.footage_people}: "
                f"want {longer:.1f} or more"
            )
