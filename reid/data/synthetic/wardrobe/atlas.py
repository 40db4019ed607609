"""All surfaces of a person in one texture, so that a picture is coloured by a single look-up."""

from functools import lru_cache

import numpy as np

from reid.data.synthetic.surface import floats
from reid.data.synthetic.wardrobe.fabric import COLUMNS, Floats, clouds, paint, stamp
from reid.data.synthetic.wardrobe.outfits import Colour, Outfit

__all__ = ["ROWS", "build_atlas"]

_NAMES = (
    "head",
    "torso",
    "arm",
    "leg",
    "skirt",
    "coat",
    "bag",
    "skin",
    "hair",
    "shoes",
    "hat",
    "hand_bag",
    "hood",
    "stick",
)
_LENGTHS = dict(zip(_NAMES, (32, 72, 56, 96, 64, 56, 40, 4, 4, 6, 4, 4, 4, 4), strict=True))


@lru_cache(maxsize=1)
def _rows() -> dict[str, tuple[int, int]]:
    ends = np.cumsum([n + 2 for n in _LENGTHS.values()]).tolist()
    return {name: (end - n - 1, end - 1) for (name, n), end in zip(_LENGTHS.items(), ends, strict=True)}


ROWS = _rows()
"""First row and the row after the last of each surface; a row on either side repeats its edge."""
_STICK: Colour = (0.11, 0.07, 0.05)  # dark wood: a white one would be a blind person's
_FRONT = COLUMNS // 2
_BETA = (np.arange(COLUMNS, dtype=np.float32) + 0.5 - _FRONT) * (2 * np.pi / COLUMNS)


def build_atlas(outfit: Outfit) -> Floats:
    """(rows, COLUMNS, 3) RGB shares of all surfaces; `ROWS` says where each is."""
    rng = np.random.default_rng(outfit.seed)
    pieces = {
        "head": _head(outfit),
        "torso": _torso(outfit, rng),
        "arm": _arm(outfit),
        "leg": _leg(outfit, rng),
        "skirt": _skirt(outfit),
        "coat": paint(outfit.upper, _LENGTHS["coat"], 0.28, 0.7),
        "bag": _bag(outfit, rng),
        "shoes": np.broadcast_to(floats(outfit.shoes), (6, COLUMNS, 3)).copy(),
    }
    pieces["shoes"][4:] = outfit.soles
    flat: dict[str, Colour] = {
        "skin": outfit.skin,
        "hair": outfit.hair,
        "hat": outfit.hat_colour,
        "hand_bag": outfit.bag_fabric.colour,
        "hood": outfit.upper.colour,
        "stick": _STICK,
    }
    out = np.empty((max(end for _, end in ROWS.values()) + 1, COLUMNS, 3), np.float32)
    for name, (start, end) in ROWS.items():
        out[start:end] = pieces[name] if name in pieces else floats(flat[name])
        out[start - 1], out[end] = out[start], out[end - 1]
    # Uneven wear and weave, everywhere; the stick came later, and what is drawn by chance stays as it was.
    worn = out[: ROWS["stick"][0] - 1]
    worn *= 1 + 0.03 * clouds(rng, len(worn), COLUMNS, 5.0)[..., None]
    return np.clip(out, 0.015, 1)


def _head(outfit: Outfit) -> Floats:
    """Rows run from the crown to the chin."""
    rows = _LENGTHS["head"]
    out = np.broadcast_to(floats(outfit.skin), (rows, COLUMNS, 3)).copy()
    u = floats((np.arange(rows)[:, None] + 0.5) / rows)
    beta = np.abs(_BETA)[None]
    if outfit.hair_kind != "bald":
        fringe = 0.2 + 0.14 * outfit.hair_length
        back = 0.72 if outfit.hair_kind == "short" else 1.1
        line = np.where(
            beta < 0.95, fringe, np.where(beta < 1.5, 0.34 + 0.3 * (outfit.hair_kind != "short"), back)
        )
        out[u < line] = outfit.hair
    face = (beta < 0.75) & (u > 0.4)
    out[face & (np.abs(u - 0.5) < 0.03) & (np.abs(beta - 0.38) < 0.2)] = floats(outfit.hair) * 0.8
    if outfit.glasses:
        out[face & (np.abs(u - 0.52) < 0.045) & (np.abs(beta - 0.36) < 0.26)] = (0.08, 0.08, 0.09)
    out[face & (np.abs(u - 0.8) < 0.025) & (beta < 0.2)] *= floats((0.75, 0.5, 0.5))
    if outfit.hat != "none":
        out[np.broadcast_to(u < (0.42 if outfit.hat == "beanie" else 0.36), out.shape[:2])] = (
            outfit.hat_colour
        )
    return out


def _torso(outfit: Outfit, rng: np.random.Generator) -> Floats:
    """Rows run from the neck to the crotch."""
    rows = _LENGTHS["torso"]
    out = paint(outfit.upper, rows, 0.36, 0.58)
    u = floats((np.arange(rows)[:, None] + 0.5) / rows)
    beta = np.abs(_BETA)[None]
    half = (max(3, round(15 * outfit.print_size)), max(3, round(15 * outfit.print_size)))
    for kind, column in ((outfit.front_print, _FRONT), (outfit.back_print, 0)):
        if kind != "none":
            turned = np.roll(out, _FRONT - column, axis=1)
            stamp(turned, kind, outfit.print_colours, (26, _FRONT), half, rng)
            out = np.roll(turned, column - _FRONT, axis=1)
    if outfit.closure == "zip":
        out[np.broadcast_to(beta < 0.04, out.shape[:2])] *= 0.5
    elif outfit.closure == "buttons":
        out[np.broadcast_to((beta < 0.05) & (u < (0.3 if outfit.sleeve < 0.5 else 2)), out.shape[:2])] *= 0.7
    below = paint(outfit.inner, rows, 0.36, 0.58)
    neckline = np.where(u < 0.09, 0.5, 0.0)
    if outfit.closure == "lapels":
        neckline = np.maximum(neckline, np.clip(0.5 * (0.4 - u) / 0.4, 0, 1))
    skin_v = (u < 0.075) & (beta < 0.75 - 4 * u)
    seen = beta < np.maximum(neckline if outfit.closure != "none" else 0.0, outfit.opening * (0.55 + 0.7 * u))
    edge = (beta < np.maximum(neckline, outfit.opening * (0.55 + 0.7 * u)) + 0.1) & ~seen
    if outfit.opening or outfit.closure == "lapels":
        out[edge] *= 0.72
        out[seen] = below[seen]
    if outfit.collar is not None or outfit.closure != "none":
        colour = outfit.collar if outfit.collar is not None else tuple(0.8 * c for c in outfit.upper.colour)
        out[np.broadcast_to(u < 0.06, out.shape[:2]) & ~seen] = colour
    out[skin_v] = outfit.skin
    if outfit.sleeve == 0.0 and outfit.closure == "none":
        out[(u < 0.2) & (np.abs(beta - np.pi / 2) < 0.5)] = outfit.skin
        out[(u < 0.13) & (beta < 0.9)] = outfit.skin
    if outfit.hem < 0.0 or outfit.opening:
        tucked = u > (0.86 if outfit.hem < 0 else 0.93)
        legs = out if outfit.lower_kind == "dress" else paint(outfit.lower, rows, 0.36, 0.58)
        where = np.broadcast_to(tucked, out.shape[:2]) & (seen if outfit.hem >= 0 else True)
        out[where] = legs[where]
    if outfit.belt is not None and (outfit.hem < 0.0 or outfit.lower_kind == "dress"):
        place = 0.66 if outfit.lower_kind == "dress" else 0.85
        out[np.broadcast_to(np.abs(u - place) < 0.025, out.shape[:2])] = outfit.belt
    _straps(out, outfit, u)
    return out


def _straps(out: Floats, outfit: Outfit, u: Floats) -> None:
    """Of bags, over the shoulder."""
    colour = floats(outfit.bag_fabric.colour) * 0.85
    broad = 0.11 + 0.05 * outfit.bag_size
    if outfit.bag in ("backpack", "one_strap"):
        left = _BETA[None] > 0
        line = np.abs(np.abs(_BETA)[None] - (0.62 + 0.9 * np.clip(u - 0.2, 0, 1))) < broad
        line = line & (u < 0.5) & (left if outfit.bag == "one_strap" else True)
        out[line] = colour
    elif outfit.bag == "cross":
        turn = 1 if outfit.seed % 2 else -1
        front = np.abs(turn * _BETA[None] + 0.85 - 2.2 * u) < 0.8 * broad
        back = np.abs((turn * -_BETA[None] + 2 * np.pi) % (2 * np.pi) - np.pi + 0.85 - 2.2 * u) < 0.8 * broad
        nearer = np.abs(_BETA)[None] < np.pi / 2
        out[np.where(nearer, front, back) & (u < 0.85)] = colour
    elif outfit.bag == "shoulder":
        out[(np.abs(_BETA[None] - 1.2) < 0.7 * broad) & (u < 0.9)] = colour


def _arm(outfit: Outfit) -> Floats:
    """Rows run from the shoulder to the wrist."""
    rows = _LENGTHS["arm"]
    out = paint(outfit.sleeves, rows, 0.33, 0.16)
    u = (np.arange(rows, dtype=np.float32) + 0.5) / rows
    if outfit.side_stripe is not None and outfit.sleeve > 0.5:
        out[:, np.abs(np.abs(_BETA) - np.pi / 2) < 0.5] = outfit.side_stripe
    if outfit.collar is not None and outfit.sleeve > 0:
        out[np.abs(u - outfit.sleeve) < 0.05] = outfit.collar
    out[u > outfit.sleeve] = outfit.skin
    return out


def _leg(outfit: Outfit, rng: np.random.Generator) -> Floats:
    """Rows run from the hip to the ankle."""
    rows = _LENGTHS["leg"]
    u = (np.arange(rows, dtype=np.float32) + 0.5) / rows
    out = paint(outfit.lower, rows, 0.46, 0.28)
    bare = outfit.skin if outfit.legwear[0] < 0 else outfit.legwear
    if outfit.lower_kind in ("shorts", "skirt", "dress"):
        out[u > (outfit.lower_length if outfit.lower_kind == "shorts" else 0.12)] = bare
    else:
        # Denim is worn pale on the thighs, and all trousers crease at the knee and the ankle.
        worn = 0.22 * np.exp(-((u - 0.3) ** 2) / 0.03)[:, None] * np.cos(_BETA)[None].clip(0)
        out *= 1 + (worn * float(rng.random()))[..., None].astype(np.float32)
        if outfit.side_stripe is not None:
            out[:, np.abs(np.abs(_BETA) - np.pi / 2) < 0.35] = outfit.side_stripe
    if 0 < outfit.hem < 0.2:
        out[u < outfit.hem] = floats(outfit.upper.colour) * 0.93
    if outfit.boot:
        out[u > 1 - 0.5 * outfit.boot] = outfit.shoes
    return out


def _skirt(outfit: Outfit) -> Floats:
    out = paint(outfit.lower, _LENGTHS["skirt"], 0.3, 0.7)
    pleats = 0.12 * np.cos(_BETA * (6 + outfit.seed % 9))
    return np.asarray(out * (1 + pleats * (outfit.seed % 3 > 0))[None, :, None], np.float32)


def _bag(outfit: Outfit, rng: np.random.Generator) -> Floats:
    rows = _LENGTHS["bag"]
    out = paint(outfit.bag_fabric, rows, 0.25, 0.5)
    u = floats((np.arange(rows)[:, None] + 0.5) / rows)
    # A backpack's outer side is at the back: a pocket, a flap, a label there.
    back = np.pi - np.abs(_BETA)[None]
    tone = floats(outfit.print_colours[0]) if rng.random() < 0.35 else floats(outfit.bag_fabric.colour) * 0.7
    out[(u > 0.52) & (u < 0.9) & (back < 0.6)] = tone
    out[np.broadcast_to(np.abs(u - 0.3) < 0.025, out.shape[:2])] *= 0.6
    if rng.random() < 0.4:
        out[(np.abs(u - 0.42) < 0.04) & (back < 0.3)] = outfit.print_colours[1]
    return out
