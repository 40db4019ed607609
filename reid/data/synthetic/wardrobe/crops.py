"""Crops of rendered people as a detector would cut them from cameras' frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.seeds import generator
from reid.data.synthetic.surface import floats
from reid.data.synthetic.wardrobe.ages import draw_person
from reid.data.synthetic.wardrobe.atlas import build_atlas
from reid.data.synthetic.wardrobe.cameras import Light, Place, build_place, nearer, respond
from reid.data.synthetic.wardrobe.fabric import COLUMNS, Floats, clouds
from reid.data.synthetic.wardrobe.figure import solids_of
from reid.data.synthetic.wardrobe.outfits import Outfit, draw_outfit
from reid.data.synthetic.wardrobe.recorder import Moment, draw_moment, slant
from reid.data.synthetic.wardrobe.scenery import Image, paint_place, paint_thing
from reid.data.synthetic.wardrobe.solids import Buffers, Camera3D, draw
from reid.data.synthetic.wardrobe.spec import WardrobeSpec
from reid.data.synthetic.wardrobe.stances import Stance, draw_stance

__all__ = ["Crop", "render_people", "render_person"]

_FINER = 1.35  # than the crop's own pixels
_PASSERS_BY, _FIRST_PASSER_BY = 40, 2**31
_PLACE_TALL, _PLACE_BASE, _PLACE_WIDE = 2.9, 1.1, 4.0  # in crops' heights


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A picture (image_height, image_width, 3) uint8 RGB of a person in a camera, the ``n``-th there."""

    image: Image
    person: int
    camera: int
    n: int


def render_people(
    spec: WardrobeSpec, people: range | None = None
) -> tuple[Image, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All crops of these people, of all for None, in order.

    Returns:
        Images (N, image_height, image_width, 3) uint8 RGB, people (N,), cameras (N,).
    """
    people = range(spec.people) if people is None else people
    count = len(people) * spec.images_per_person
    images = np.empty((count, spec.image_height, spec.image_width, 3), np.uint8)
    identities, cameras = np.empty((2, count), np.int64)
    for row, crop in enumerate(crop for person in people for crop in render_person(spec, person)):
        images[row], identities[row], cameras[row] = crop.image, crop.person, crop.camera
    return images, identities, cameras


def render_person(spec: WardrobeSpec, person: int) -> Iterator[Crop]:
    """All crops of one person, camera by camera; the same whoever else was rendered before."""
    outfit = draw_person(spec, person)
    atlas = build_atlas(outfit)
    own = generator(spec.seed, "wardrobe cameras of", person)
    for camera in np.sort(own.choice(spec.cameras, spec.cameras_per_person, replace=False)).tolist():
        place, backdrop = _place(spec, camera)
        place = nearer(place, outfit.age.size)
        rng = generator(spec.seed, "wardrobe crops", person, camera)
        moments = generator(spec.seed, "wardrobe moments", person, camera)
        for n in range(spec.images_per_camera):
            moment = draw_moment(moments)
            yield Crop(_crop(spec, outfit, atlas, place, backdrop, rng, moment), person, camera, n)


@lru_cache(maxsize=256)
def _place(spec: WardrobeSpec, camera: int) -> tuple[Place, Image]:
    place, rng = build_place(spec, camera), generator(spec.seed, "wardrobe place", camera)
    unit = float(spec.image_height)
    base = round(_PLACE_BASE * unit)
    backdrop = paint_place(
        rng, round(_PLACE_TALL * unit), round(_PLACE_WIDE * unit), base, 0.9 * unit, spec.scenery
    )
    if spec.scenery:
        passers_by = _passers_by(spec.seed, spec.image_height)
        for _ in range(int(rng.poisson(2.5 * spec.scenery))):
            sprite = passers_by[int(rng.integers(len(passers_by)))]
            scale = float(rng.uniform(0.45, 1.1))
            x = int(rng.integers(backdrop.shape[1]))
            _lay(backdrop, sprite, scale, x, base + round(float(rng.uniform(0.1, 1.0)) * scale * unit))
    return place, backdrop


@lru_cache(maxsize=4)
def _passers_by(seed: int, height: int) -> list[Floats]:
    """People who are in the way or behind: (h, w, 4) float32, RGB in [0, 255] times alpha, and alpha."""
    spec, found = WardrobeSpec(seed=seed, image_height=height), []
    for number in range(_PASSERS_BY):
        rng = generator(seed, "wardrobe passer-by", number)
        outfit = draw_outfit(spec, _FIRST_PASSER_BY + number)
        place = build_place(spec, number % spec.cameras)
        layer = _figure(spec, outfit, build_atlas(outfit), place, draw_stance(rng, outfit, 1.0), rng)
        found.append(layer)
    return found


def _lay(image: Image | Floats, sprite: Floats, scale: float, x: int, foot: int) -> None:
    """A sprite over an image, in place, its feet at row ``foot``, its middle at column ``x``."""
    small = cv2.resize(sprite, None, fx=scale / _FINER, fy=scale / _FINER, interpolation=cv2.INTER_AREA)
    top, left = foot - small.shape[0], x - small.shape[1] // 2
    rows = slice(max(0, top), min(image.shape[0], foot))
    columns = slice(max(0, left), min(image.shape[1], left + small.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = small[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    place = image[rows, columns]
    image[rows, columns] = np.clip(place * (1 - part[..., 3:]) + part[..., :3], 0, 255).astype(image.dtype)


def _figure(
    spec: WardrobeSpec, outfit: Outfit, atlas: Floats, place: Place, stance: Stance, rng: np.random.Generator
) -> Floats:
    """A lit person on nothing, cut to what is seen of them: (h, w, 4) float32, RGB in [0, 255] times alpha,
    and alpha.
    """
    scale = _FINER * spec.image_height
    height, width = round(1.24 * scale), round(1.1 * scale)
    yaw = spec.views * (place.toward + place.spread * float(rng.normal()))
    camera = Camera3D(yaw, place.pitch, place.distance, scale, (0.5 * width, 0.53 * height))
    buffers = Buffers(height, width)
    for solid in solids_of(outfit, stance):
        draw(buffers, solid, camera)
    seen = buffers.depth > -np.inf
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    layer = np.empty((*seen[box].shape, 4), np.float32)
    layer[..., 3] = seen[box]
    shade = _shade(buffers, box, seen[box], place.light, scale, spec.light, rng)
    column = np.mod(buffers.column[box], COLUMNS)
    albedo = cv2.remap(atlas, column, buffers.row[box], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    layer[..., :3] = 255 * albedo * shade * layer[..., 3:]
    return layer


@lru_cache(maxsize=1)
def _folds() -> Floats:
    """Noise that repeats: creases run across limbs and down skirts alike."""
    rng = np.random.default_rng(20)
    broad = cv2.resize(clouds(rng, 256, 128, 10.0), (256, 256))
    fine = cv2.resize(clouds(rng, 256, 96, 4.0), (256, 256))
    return np.asarray(0.55 * broad + 0.55 * fine, np.float32)


def _shade(
    buffers: Buffers,
    box: tuple[slice, slice],
    seen: npt.NDArray[np.bool_],
    light: Light,
    scale: float,
    share: float,
    rng: np.random.Generator,
) -> Floats:
    right, down = buffers.right[box], buffers.down[box]
    dx, dy = (int(v) for v in rng.integers(0, 256, 2))
    place = (
        (buffers.column[box] * 1.5 + dx).astype(np.int32) & 255,
        (buffers.row[box] * 1.2 + dy).astype(np.int32) & 255,
    )
    fold = _folds()[place[1], place[0]]
    toward = np.sqrt(np.maximum(1 - right * right - down * down, 0))
    facing = light.toward[0] * right + light.toward[1] * down + light.toward[2] * toward
    facing = np.maximum(facing + 0.09 * share * fold, 0)
    # What lies behind its surroundings gets less of the sky.
    depth = np.where(seen, buffers.depth[box], buffers.depth[box][seen].mean() - 0.1 * scale)
    hidden = np.clip((cv2.blur(depth, (9, 9)) - depth) / (0.05 * scale), 0, 1)
    sky = (0.86 - 0.16 * down + 0.10 * toward) * (1 - 0.42 * hidden) + 0.04 * share * fold
    return np.asarray(
        facing[..., None] * floats(light.key) + sky[..., None] * floats(light.ambient), np.float32
    )


def _crop(
    spec: WardrobeSpec,
    outfit: Outfit,
    atlas: Floats,
    place: Place,
    backdrop: Image,
    rng: np.random.Generator,
    moment: Moment,
) -> Image:
    height, width = spec.image_height, spec.image_width
    layer = _figure(spec, outfit, atlas, place, draw_stance(rng, outfit, spec.poses), rng)
    left, top, wide, tall = _box(layer.shape[1], layer.shape[0], place, spec.boxes, rng)
    # From the person's own pixels into the crop's.
    sx, sy = width / wide, height / tall
    small = cv2.resize(layer, None, fx=sx, fy=sy, interpolation=cv2.INTER_AREA)
    x, y = round(-left * sx), round(-top * sy)
    foot = y + small.shape[0]
    canvas = _behind(backdrop, place, height, width, wide / tall, rng)
    over = np.zeros((height, width, 4), np.float32)
    # A box that misses them altogether by chance shows nobody.
    rows = slice(min(max(0, y), height), max(0, min(height, foot)))
    columns = slice(min(max(0, x), width), max(0, min(width, x + small.shape[1])))
    over[rows, columns] = small[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    if place.recorder.readout_s:
        over = slant(over, place.recorder, moment.walking, place.distance)
    alpha = over[..., 3]
    _cast_shadow(canvas, alpha, foot, place.light, spec.light)
    canvas *= 1 - alpha[..., None]
    canvas += over[..., :3]
    if place.dapples > 0.05:
        spots = np.clip(clouds(rng, height, width, float(rng.uniform(8, 22))), -0.5, 1) * place.dapples
        canvas *= (1 - spots)[..., None]
    if rng.random() < 0.3 * spec.occlusion:
        _occlude(canvas, _passers_by(spec.seed, spec.image_height), rng)
    return respond(canvas, place, spec, rng, moment)


def _box(
    columns: int, rows: int, place: Place, share: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Left, top, width and height of the box around a person of so many pixels."""
    loose = place.loose + share * np.abs(rng.normal(0, 0.025, 4))
    loose = loose + share * (rng.random(4) < 0.06) * rng.uniform(-0.16, 0.16, 4)
    top, bottom = -loose[0] * rows, rows * (1 + loose[1])
    tall = bottom - top
    wide = max(columns + rows * (loose[2] + loose[3]), place.aspect * tall)
    middle = columns / 2 + rows * (loose[2] - loose[3]) + share * rng.normal(0, 0.02) * rows
    return float(middle - wide / 2), float(top), float(wide), float(tall)


def _behind(
    backdrop: Image, place: Place, height: int, width: int, aspect: float, rng: np.random.Generator
) -> Floats:
    zoom = float(rng.uniform(0.85, 1.2))
    tall = round(height * zoom * place.size)
    wide = min(max(8, round(tall * aspect)), backdrop.shape[1])
    base = round(_PLACE_BASE * height)
    top = int(np.clip(base - (place.base + rng.normal(0, 0.06)) * tall, 0, backdrop.shape[0] - tall))
    left = int(rng.integers(backdrop.shape[1] - wide + 1))
    part = backdrop[top : top + tall, left : left + wide].astype(np.float32)
    lit = floats(place.light.ambient) + 0.6 * floats(place.light.key)
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) * lit, np.float32)


def _cast_shadow(canvas: Floats, alpha: Floats, foot: int, light: Light, share: float) -> None:
    height, width = alpha.shape
    # The silhouette laid on the ground, away from the light.
    lean, fall = -0.9 * light.toward[0], 0.35 * light.toward[2]
    laid = np.array([[1, -lean, lean * foot], [0, -fall, foot * (1 + fall)]], np.float64)
    thrown = cv2.warpAffine(alpha, laid, (width, height), flags=cv2.INTER_LINEAR)
    shade = light.shadow * 0.6 * cv2.blur(thrown, (3, 3))
    if share:
        under = np.zeros((height, width), np.float32)
        cv2.ellipse(under, (width // 2, foot - 2), (width // 4, max(2, height // 40)), 0, 0, 360, 0.35, -1)
        shade = np.maximum(shade, share * cv2.blur(under, (9, 5)))
    canvas *= (1 - shade)[..., None]


def _occlude(canvas: Floats, passers_by: list[Floats], rng: np.random.Generator) -> None:
    """Something or somebody before or beside the person, in place; at most half of them is hidden."""
    height, width = canvas.shape[:2]
    kind = rng.random()
    if kind < 0.45:
        sprite = passers_by[int(rng.integers(len(passers_by)))]
        side = 1 if rng.random() < 0.5 else -1
        x = width // 2 + side * round(float(rng.uniform(0.35, 0.7)) * width)
        _lay(
            canvas, sprite, float(rng.uniform(0.75, 1.25)), x, round(height * float(rng.uniform(0.95, 1.25)))
        )
    elif kind < 0.7:
        top = round(height * float(rng.uniform(0.62, 0.92)))
        colour = rng.uniform(0.1, 0.9) * (1 + 0.2 * rng.normal(0, 1, 3))
        canvas[top:] = (255 * np.clip(colour, 0, 1)).astype(np.float32)
        canvas[top:] *= 1 + 0.06 * clouds(rng, height - top, width, 3.0)[..., None]
    else:
        layer = floats(canvas / 255)
        for _ in range(2):
            paint_thing(rng, layer, round(height * float(rng.uniform(0.6, 1.0))), float(height))
        # Only its lower part, or a side.
        if rng.random() < 0.5:
            keep = round(height * 0.55)
            canvas[keep:] = 255 * layer[keep:]
        else:
            keep = round(width * 0.3)
            columns = slice(0, keep) if rng.random() < 0.5 else slice(width - keep, width)
            canvas[:, columns] = 255 * layer[:, columns]
