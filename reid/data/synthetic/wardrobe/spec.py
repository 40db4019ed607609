"""What to render: how many people and cameras, how large, and how much of each ingredient. Torch-free."""

from dataclasses import dataclass, fields

from reid.errors import UsageError

__all__ = ["INGREDIENTS", "LATER", "WardrobeSpec"]

_LEAST = {
    "people": 2,
    "cameras": 2,
    "cameras_per_person": 1,
    "images_per_camera": 1,
    "image_height": 32,
    "image_width": 16,
    "seed": 0,
}
INGREDIENTS = (
    "cuts",
    "patterns",
    "bags",
    "poses",
    "views",
    "light",
    "response",
    "optics",
    "scenery",
    "occlusion",
    "boxes",
)
"""Shares from 0 to 1 among the fields of `WardrobeSpec`, all of them 1 unless said otherwise."""
LATER = ("ages", "vignette", "rolling_shutter", "h264")
"""Shares that came after the shipped model was trained: 0 unless asked for, and every byte as it was then."""


@dataclass(frozen=True, slots=True)
class WardrobeSpec:
    """People for training embeddings that carry over to real cameras. Sizes are pixels.

    Each person is seen by ``cameras_per_person`` of the ``cameras``, ``images_per_camera`` times in each. A
    ``seed`` draws other people and other cameras. The ingredients are shares from 0, without, to 1, as much
    as there is:

    - ``cuts``: jackets, coats, dresses, skirts, shorts, hoods, hats; without, T-shirt and trousers;
    - ``patterns``: of the clothes, that are not plain: stripes, checks, prints, logos, folds;
    - ``bags``: of the people, who carry any;
    - ``poses``: how far people swing, bend and hold arms and legs otherwise than standing;
    - ``views``: how far people turn away from the camera;
    - ``light``: how much it comes from one side, and its shadows;
    - ``response``: how much cameras disagree about colour and exposure;
    - ``optics``: blur, noise, few pixels, compression;
    - ``scenery``: structure behind people;
    - ``occlusion``: of the crops, where something or somebody stands before or beside the person;
    - ``boxes``: how far the box is off.

    Four more are 0 unless asked for. They draw by themselves: with one of them on, all else stays as it is:

    - ``ages``: of the people, who are children (at 1 sixteen of a hundred) or old (twenty);
    - ``vignette``: how much darker pictures are towards their edges;
    - ``rolling_shutter``: how far what moves is slanted and smeared, row after row;
    - ``h264``: of the cameras, which send H.264 in place of JPEG (at 1 six of ten).

    Raises:
        UsageError: a field is too small, too large for another, or not a number of its type.
    """

    people: int = 1000
    cameras: int = 48
    cameras_per_person: int = 4
    images_per_camera: int = 3
    image_height: int = 128
    image_width: int = 64
    seed: int = 7
    cuts: float = 1.0
    patterns: float = 1.0
    bags: float = 1.0
    poses: float = 1.0
    views: float = 1.0
    light: float = 1.0
    response: float = 1.0
    optics: float = 1.0
    scenery: float = 1.0
    occlusion: float = 1.0
    boxes: float = 1.0
    ages: float = 0.0
    vignette: float = 0.0
    rolling_shutter: float = 0.0
    h264: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in INGREDIENTS + LATER:
                if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
                    raise UsageError(f"rendered people: {name} is {value!r}, want a share from 0 to 1")
                continue
            least = _LEAST[name]
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**32:
                raise UsageError(f"rendered people: {name} is {value!r}, want a whole number from {least} on")
        if self.cameras_per_person > self.cameras:
            raise UsageError(
                f"rendered people: cameras_per_person is {self.cameras_per_person}, more than the "
                f"{self.cameras} cameras there are"
            )
        for name in ("image_height", "image_width"):
            if getattr(self, name) > 1024:
                raise UsageError(f"rendered people: {name} is {getattr(self, name)}, want at most 1024")

    @property
    def images_per_person(self) -> int:
        """Of all cameras together."""
        return self.cameras_per_person * self.images_per_camera
