"""How large a synthetic town is. Torch-free."""

from dataclasses import dataclass, fields

from reid.errors import UsageError

__all__ = ["TownSpec"]

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
}
_SHARES = ("clothes_change", "daylight", "crowd")
_SECONDS_IN_VIEW, _MOST_IN_VIEW = 4.4, 5.0


@dataclass(frozen=True, slots=True)
class TownSpec:
    """What to render. Sizes are pixels; a person in the footage is 0.25 to 0.47 of ``footage_height`` tall.

    Three shares from 0 to 1 make crops harder; 0, the default, leaves every byte as it is without them:
    ``clothes_change`` of the people wear another outfit from the second half of their images of each camera on (body, skin and hair
    stay); ``daylight`` moves brightness and colour through the hours of a day, at 1 from noon to dusk; ``crowd`` of the crops show two
    or three others before or behind the person.

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

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), _LEAST[field.name]
            number = (int, float) if isinstance(least, float) else (int,)
            if not isinstance(value, number) or isinstance(value, bool) or not least <= value < 1e6:
                kind = "number" if isinstance(least, float) else "whole number"
                raise UsageError(f"synthetic town: {field.name} is {value!r}, want a {kind} from {least} on")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise UsageError(f"synthetic town: {name} is {getattr(self, name)}, want a share from 0 to 1")
        if self.people > 9999:
            raise UsageError(f"synthetic town: people is {self.people}, want at most 9999: names have four digits")
        if self.footage_people > self.people:
            raise UsageError(f"synthetic town: footage_people is {self.footage_people}, more than the {self.people} people there are")
        for name in ("footage_width", "footage_height"):
            if getattr(self, name) % 2:
                raise UsageError(f"synthetic town: {name} is {getattr(self, name)}, want an even number: video stores colour at half size")
        if self.footage_people * _SECONDS_IN_VIEW > _MOST_IN_VIEW * (self.footage_seconds - 1):
            longer = 1 + self.footage_people * _SECONDS_IN_VIEW / _MOST_IN_VIEW
            raise UsageError(
                f"synthetic town: footage_seconds is {self.footage_seconds}, too short for footage_people {self.footage_people}: "
                f"want {longer:.1f} or more"
            )
