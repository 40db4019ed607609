"""The place a camera looks at, and people put into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.body import Figure
from reid.data.synthetic.cameras import Camera
from reid.data.synthetic.occluders import plant_occluders
from reid.data.synthetic.seeds import generator
from reid.data.synthetic.surface import floats

__all__ = ["Placed", "Scene", "build_scene", "compose"]

Image = npt.NDArray[np.uint8]
Boxes = tuple[tuple[int, int, int, int], ...]
_WALLS = ((172, 158, 138), (176, 168, 158), (138, 148, 132), (152, 150, 148))
_GROUNDS = ((160, 156, 150), (150, 144, 138), (128, 130, 110), (118, 118, 120))


@dataclass(frozen=True)
class Scene:
    """A place without people.

    Attributes:
        backdrop: (H, W, 3) uint8 RGB.
        front: (H, W) bool, what of the backdrop stands before people who walk behind it.
        front_boxes: x0, y0, x1, y1 around its pieces.
        front_y: image row where that thing meets the ground; who stands lower in the image is before it.
        cover: (H, W) bool, what of the backdrop stands before everybody.
        cover_boxes: x0, y0, x1, y1 around its pieces.
    """

    backdrop: Image
    front: npt.NDArray[np.bool_]
    front_boxes: Boxes
    front_y: float
    cover: npt.NDArray[np.bool_]
    cover_boxes: Boxes


@dataclass(frozen=True)
class Placed:
    """A drawn person with the image point, x and y, at which they stand."""

    figure: Figure
    foot: tuple[float, float]

    @property
    def corner(self) -> tuple[int, int]:
        """Image x and y of the figure's upper left pixel."""
        return round(self.foot[0] - self.figure.foot[0]), round(self.foot[1] - self.figure.foot[1])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height in the image, unclipped."""
        x, y, width, height = self.figure.box
        return self.corner[0] + x, self.corner[1] + y, width, height


@lru_cache(maxsize=16)
def build_scene(camera: Camera, occluders: float = 0.0) -> Scene:
    """The place a camera looks at; the same for its crops and its footage. ``occluders``, 0 to 1: how much
    stands before everybody.
    """
    rng = generator(camera.seed, "scene", camera.number)
    height, width = camera.height, camera.width
    wall_y = int(camera.horizon + camera.far * camera.mount * 0.93)
    canvas = np.empty((height, width, 3), np.float32)
    wall, ground = (
        floats(table[camera.style]) + rng.normal(0, 6, 3).astype(np.float32) for table in (_WALLS, _GROUNDS)
    )
    canvas[:wall_y] = wall
    canvas[wall_y:] = ground * np.linspace(0.86, 1.06, height - wall_y, dtype=np.float32)[:, None, None]
    _pave(canvas, camera, wall_y, rng)
    _furnish_wall(canvas, wall_y, rng)
    front, front_y = _plant(canvas, camera, rng)
    cover = plant_occluders(canvas, camera, occluders)
    canvas += _grain(rng, height, width)[..., None]
    cv2.rectangle(canvas, (0, wall_y - 3), (width, wall_y + 1), tuple(map(float, wall * 0.6)), -1)
    whole = np.clip(canvas, 0, 255).astype(np.uint8)
    return Scene(whole, front, _boxes_of(front), front_y, cover, _boxes_of(cover))


def _boxes_of(mask: npt.NDArray[np.bool_]) -> Boxes:
    pieces = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2][1:]
    return tuple((int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, _ in pieces)


def _grain(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Dirt and stone at three sizes."""
    grain = rng.normal(0, 6, (height, width)).astype(np.float32)
    for cell, strength in ((3, 5.0), (30, 6.0)):
        coarse = rng.normal(0, strength, (height // cell + 2, width // cell + 2)).astype(np.float32)
        grain += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return grain


def _pave(canvas: npt.NDArray[np.float32], camera: Camera, wall_y: int, rng: np.random.Generator) -> None:
    """Slabs in perspective: rows at equal distances on the ground, joints towards the vanishing point."""
    height, width = canvas.shape[:2]
    tint = tuple(float(v) for v in canvas[-1, 0] * rng.uniform(0.78, 0.9))
    slab = float(rng.uniform(0.7, 1.4))
    for z in np.arange(6.0, 40.0, slab):
        y = int(camera.horizon + camera.focal / z * camera.mount)
        if wall_y < y < height:
            cv2.line(canvas, (0, y), (width, y), tint, 1, cv2.LINE_AA)
    for x in np.arange(-9.0, 9.0, slab * 1.3):
        (x0, y0, _), (x1, y1, _) = camera.foot(float(x), 8.0), camera.foot(float(x), 30.0)
        cut = (wall_y - y0) / (y1 - y0)
        cv2.line(canvas, (int(x0), int(y0)), (int(x0 + cut * (x1 - x0)), wall_y), tint, 1, cv2.LINE_AA)


def _furnish_wall(canvas: npt.NDArray[np.float32], wall_y: int, rng: np.random.Generator) -> None:
    """Windows, a door and posters of muted colours, and a bush or two at the foot."""
    height, width = canvas.shape[:2]
    step = width / 6
    for place in range(6):
        x = int(place * step + rng.uniform(0.1, 0.25) * step)
        w = int(rng.uniform(0.45, 0.62) * step)
        kind = rng.random()
        top = int(wall_y * (0.12 if kind < 0.5 else 0.3))
        bottom = wall_y if kind > 0.8 else int(wall_y * rng.uniform(0.6, 0.75))
        colour = np.clip(rng.uniform(60, 120) + rng.normal(0, 12, 3), 30, 160)
        cv2.rectangle(
            canvas, (x - 3, top - 3), (x + w + 3, bottom + 3), tuple(float(v) for v in canvas[1, 1] * 0.8), -1
        )
        cv2.rectangle(canvas, (x, top), (x + w, bottom), tuple(map(float, colour)), -1)
        cv2.line(canvas, (x + w // 2, top), (x + w // 2, bottom), tuple(float(v) for v in colour * 1.3), 2)
    for _ in range(int(rng.integers(1, 3))):
        x, size = int(rng.uniform(0, width)), int(rng.uniform(0.05, 0.09) * height)
        for _ in range(26):
            at = (x + int(rng.normal(0, size)), wall_y - int(abs(rng.normal(0, size * 0.6))))
            shade = float(rng.uniform(0.7, 1.15))
            cv2.circle(
                canvas,
                at,
                int(rng.uniform(0.15, 0.4) * size) + 1,
                (62 * shade, 92 * shade, 50 * shade),
                -1,
                cv2.LINE_AA,
            )


def _plant(
    canvas: npt.NDArray[np.float32], camera: Camera, rng: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], float]:
    """A bollard and a planter between the paths, which hide legs now and then."""
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    z = camera.focal / (0.6 * camera.near + 0.4 * camera.far)
    x, y, scale = camera.foot(float(rng.uniform(-2.6, 2.6)), z)
    w, h = int(0.55 * scale), int(0.42 * scale)
    stone = float(rng.uniform(90, 140))
    for target, colour in ((canvas, (stone, stone * 0.95, stone * 0.88)), (mask, 255)):
        cv2.rectangle(target, (int(x) - w // 2, int(y) - h), (int(x) + w // 2, int(y)), colour, -1)
    for _ in range(16):
        at = (int(x + rng.uniform(-0.5, 0.5) * w), int(y - h - abs(rng.normal(0, 0.1)) * scale))
        radius, shade = int(rng.uniform(0.05, 0.1) * scale) + 1, float(rng.uniform(0.6, 1.2))
        cv2.circle(canvas, at, radius, (58 * shade, 98 * shade, 46 * shade), -1)
        cv2.circle(mask, at, radius, 255, -1)
    post = int(x + rng.choice((-1, 1)) * rng.uniform(1.2, 2.2) * scale)
    for target, colour in ((canvas, (54.0, 56.0, 60.0)), (mask, 255)):
        cv2.rectangle(
            target,
            (post - int(0.05 * scale), int(y - 0.95 * scale)),
            (post + int(0.05 * scale), int(y)),
            colour,
            -1,
        )
    return mask > 0, y


def compose(scene: Scene, people: Sequence[Placed], window: tuple[int, int, int, int]) -> Image:
    """The part of a scene inside ``window`` (x0, y0, x1, y1 within the image) with people in it, those
    further off first.
    """
    x0, y0, x1, y1 = window
    image = scene.backdrop[y0:y1, x0:x1].copy()
    ordered = sorted(people, key=lambda placed: placed.foot[1])
    behind = [placed for placed in ordered if placed.foot[1] < scene.front_y]
    for placed in behind:
        _lay(image, placed, x0, y0)
    if behind:
        _restore(image, scene.backdrop, scene.front, scene.front_boxes, (x0, y0, x1, y1))
    for placed in ordered[len(behind) :]:
        _lay(image, placed, x0, y0)
    _restore(image, scene.backdrop, scene.cover, scene.cover_boxes, (x0, y0, x1, y1))
    return image


def _restore(
    image: Image,
    backdrop: Image,
    mask: npt.NDArray[np.bool_],
    boxes: Boxes,
    window: tuple[int, int, int, int],
) -> None:
    """Put back, in place, what of the backdrop hides people."""
    x0, y0, x1, y1 = window
    for left, top, right, bottom in boxes:
        rows, columns = slice(max(top, y0), min(bottom, y1)), slice(max(left, x0), min(right, x1))
        if rows.start < rows.stop and columns.start < columns.stop:
            part = image[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]
            np.copyto(part, backdrop[rows, columns], where=mask[rows, columns, None])


def _lay(image: Image, placed: Placed, x0: int, y0: int) -> None:
    left, top = placed.corner
    height = placed.figure.image.shape[0]
    shadow = _shadow(max(int(0.36 * height), 3), max(int(0.075 * height), 2))
    _blend(
        image,
        shadow,
        round(placed.foot[0] - x0 - shadow.shape[1] / 2),
        round(placed.foot[1] - y0 - shadow.shape[0] / 2),
    )
    _blend(image, placed.figure.image, left - x0, top - y0)


@lru_cache(maxsize=128)
def _shadow(width: int, height: int) -> npt.NDArray[np.float32]:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    patch = np.zeros((height, width, 4), np.float32)
    patch[..., 3] = 0.45 * np.clip(1 - np.hypot(x, y), 0, 1) ** 0.7
    return patch


def _blend(image: Image, patch: npt.NDArray[np.float32], left: int, top: int) -> None:
    """Lay a premultiplied patch over an image, in place."""
    rows = slice(max(top, 0), min(top + patch.shape[0], image.shape[0]))
    columns = slice(max(left, 0), min(left + patch.shape[1], image.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    region = image[rows, columns]
    region[...] = cv2.convertScaleAbs(region * (1 - part[..., 3:]) + 255 * part[..., :3])
