"""What is wrapped around a body: cloth with its pattern, a head with face and hair, a bag.

A texture is float32 (v, u, 3) RGB in [0, 1]; v runs downwards, u around the body: back, right side, front
(the middle), left side, back.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from reid.data.synthetic.people import Appearance, Colour
from reid.data.synthetic.surface import TEXTURE_COLUMNS, Floats, floats

__all__ = ["TORSO_LENGTH", "Textures", "textures_of"]

_HEAD_V, _TORSO_V, _U = 48, 96, TEXTURE_COLUMNS
# Shares of the body height: neck to hip along the torso, and the torso's mean radius.
TORSO_LENGTH, _RADIUS = 0.335, 0.105
_LEG_LENGTH = 0.49


@dataclass(frozen=True)
class Textures:
    """Everything a person's surfaces show; ``coat`` is what of the upper garment falls below the hip."""

    head: Floats
    torso: Floats
    coat: Floats
    arm: Floats
    leg: Floats
    skirt: Floats
    backpack: Floats


@lru_cache(maxsize=64)
def textures_of(person: Appearance) -> Textures:
    """The textures of a person; pure, kept because they are used for every image, 1.4 MB each."""
    return Textures(
        head=_head(person),
        torso=_torso(person),
        coat=_coat(person),
        arm=_arm(person),
        leg=_leg(person),
        skirt=_pleated(person.lower),
        backpack=_backpack(person.bag_colour),
    )


def _plain(colour: Colour, rows: int) -> Floats:
    return np.full((rows, _U, 3), colour, np.float32)


def _grid(rows: int, length: float) -> tuple[Floats, Floats]:
    """Around (1, U) in radians, 0 at the front, and down (rows, 1) in shares of the body height."""
    around = (np.arange(_U, dtype=np.float32)[None] - (_U - 1) / 2) * np.float32(2 * np.pi / _U)
    down = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * np.float32(length / rows)
    return around, down


def _patterned(person: Appearance, rows: int, length: float, offset: float = 0.0) -> Floats:
    """The upper garment's cloth; ``offset`` is how far below the neck the piece begins, in shares of the body
    height.
    """
    around, down = _grid(rows, length)
    down = down + np.float32(offset)
    across = around * np.float32(_RADIUS)
    period = 0.035 + 0.045 * person.pattern_scale
    second = np.zeros((rows, _U), np.float32)
    if person.pattern == "stripes":
        second += (down / period) % 1 < 0.5
    elif person.pattern == "pinstripes":
        second += (across / period) % 1 < 0.4
    elif person.pattern == "checks":
        second += 0.5 * ((down / period) % 1 < 0.5) + 0.5 * ((across / period) % 1 < 0.5)
    elif person.pattern == "dots":
        second += np.hypot((down / period) % 1 - 0.5, (across / period) % 1 - 0.5) < 0.3
    elif person.pattern == "blocks":
        second += down < 0.08 + 0.1 * person.pattern_scale
    elif person.pattern == "band":
        second += np.abs(down - 0.13) < 0.022 + 0.03 * person.pattern_scale
    cloth = _plain(person.upper, rows)
    return cloth + second[..., None] * (floats(person.upper_second) - cloth)


def _torso(person: Appearance) -> Floats:
    around, down = _grid(_TORSO_V, TORSO_LENGTH)
    cloth = _patterned(person, _TORSO_V, TORSO_LENGTH)
    if person.pattern == "logo":
        size = 0.03 + 0.03 * person.pattern_scale
        cloth[np.hypot(around * _RADIUS / 1.3, down - 0.12) < size] = person.upper_second
    cloth = _opened(cloth, person, around, down / TORSO_LENGTH)
    neckline = (down < 0.03 - 0.03 * np.abs(around)) & (np.abs(around) < 1.0)
    if not person.hood:
        cloth[neckline] = person.skin
    cloth[(down > TORSO_LENGTH - 0.012) & (np.abs(around) > person.opening)] *= 0.75
    if person.bag == "backpack":
        cloth[(np.abs(np.abs(around) - 0.62) < 0.13) & (down < 0.2)] = person.bag_colour
    elif person.bag == "shoulder":
        line = 0.5 + 0.47 * np.sin(around)
        cloth[np.abs(down / TORSO_LENGTH - line) < 0.05] = person.bag_colour
    return cloth


def _opened(cloth: Floats, person: Appearance, around: Floats, share_down: Floats) -> Floats:
    if person.opening > 0:
        gap = np.abs(around) < person.opening * (0.75 + 0.25 * share_down)
        edge = np.abs(around) < person.opening * (0.75 + 0.25 * share_down) + 0.1
        cloth[edge] *= 0.72
        cloth[gap] = person.inner
    elif person.hem > 0.3 or person.hood:
        cloth[np.broadcast_to(np.abs(around) < 0.045, cloth.shape[:2])] *= 0.6
    return cloth


def _coat(person: Appearance) -> Floats:
    length = person.hem * 0.26
    around, down = _grid(_TORSO_V, max(length, 0.01))
    cloth = _patterned(person, _TORSO_V, max(length, 0.01), TORSO_LENGTH)
    if person.opening > 0:
        gap = np.broadcast_to(np.abs(around) < person.opening, cloth.shape[:2])
        cloth[gap] = floats(person.lower) * 0.85
    else:
        cloth[np.broadcast_to(np.abs(around) < 0.045, cloth.shape[:2])] *= 0.6
    return cloth * (1 - 0.12 * (down / max(length, 0.01))[..., None])


def _arm(person: Appearance) -> Floats:
    cloth = _patterned(person, _TORSO_V, 0.33)
    covered = round(_TORSO_V * person.sleeve * 0.86)
    if person.pattern in ("blocks", "band"):
        cloth[:covered] = (
            person.upper_second if person.pattern == "blocks" and person.pattern_scale > 0.5 else person.upper
        )
    cloth[max(covered - 3, 0) : covered] *= 0.78
    cloth[covered:] = person.skin
    return cloth


def _leg(person: Appearance) -> Floats:
    around, down = _grid(_TORSO_V, 1.0)
    cloth = _plain(person.skin, _TORSO_V)
    if person.lower_kind != "skirt":
        covered = down[:, 0] < (1.0 if person.lower_kind == "trousers" else person.lower_length)
        cloth[covered] = person.lower
        if person.side_stripe:
            cloth[np.broadcast_to(np.abs(np.abs(around) - np.pi / 2) < 0.4, cloth.shape[:2])] = person.shoes
    cloth[down[:, 0] > 1 - 0.5 * person.boot] = floats(person.shoes) * 0.92 if person.boot else cloth[-1, 0]
    return cloth


def _pleated(colour: Colour) -> Floats:
    around, _ = _grid(_TORSO_V, 1.0)
    return floats(_plain(colour, _TORSO_V) * (0.9 + 0.1 * np.cos(around * 14))[..., None])


def _head(person: Appearance) -> Floats:
    around, down = _grid(_HEAD_V, 1.0)
    turn = np.abs(around)
    head = _plain(person.skin, _HEAD_V)
    face = turn < 0.95
    for sign in (-1, 1):
        head[np.hypot((around - sign * 0.42) / 0.17, (down - 0.5) / 0.045) < 1] = floats(person.skin) * 0.25
    head[(np.abs(turn - 0.42) < 0.22) & (np.abs(down - 0.43) < 0.018)] = floats(person.hair) * 0.8
    head[(turn < 0.09) & (down > 0.5) & (down < 0.64)] = floats(person.skin) * 0.86
    head[(turn < 0.26) & (np.abs(down - 0.77) < 0.022)] = floats(person.skin) * floats((0.72, 0.45, 0.45))
    if person.hair_length > 0:
        hairline = np.where(face, 0.27 + 0.08 * (turn / 0.95) ** 2, np.where(turn < 1.75, 0.5, 0.86))
        if person.hair_length > 0.35 and not person.hair_tied:
            hairline = np.where(face, hairline, 1.1)
        head[down < hairline] = person.hair
    if person.hat != "none":
        brim = 0.31 if person.hat == "cap" else 0.36
        head[np.broadcast_to(down < brim, head.shape[:2])] = person.hat_colour
        head[np.broadcast_to(np.abs(down - brim) < 0.03, head.shape[:2])] = floats(person.hat_colour) * 0.7
    return cv2.GaussianBlur(head, (3, 3), 0)


def _backpack(colour: Colour) -> Floats:
    bag = _plain(colour, _TORSO_V)
    around, down = _grid(_TORSO_V, 1.0)
    away = np.pi - np.abs(around)
    pocket = (away < 0.75) & (np.abs(down - 0.68) < 0.2)
    bag[pocket] *= 0.8
    bag[np.broadcast_to(np.abs(down - 0.3) < 0.02, bag.shape[:2])] *= 0.6
    return bag
