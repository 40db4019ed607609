"""Who wears what: bodies, hair, garments, bags and their colours, in proportions like those of a street."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.seeds import generator
from reid.data.synthetic.wardrobe.spec import WardrobeSpec

__all__ = ["COLOURS", "HAIRS", "Age", "Colour", "Fabric", "Outfit", "draw_outfit", "near"]

Colour = tuple[float, float, float]
_Rng = np.random.Generator


class _Range(NamedTuple):
    """A named colour as ranges of HSV: hue in degrees, the others shares."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]


COLOURS = {
    "black": _Range((0, 360), (0.0, 0.22), (0.05, 0.17)),
    "charcoal": _Range((0, 360), (0.0, 0.15), (0.18, 0.32)),
    "grey": _Range((0, 360), (0.0, 0.12), (0.36, 0.68)),
    "white": _Range((0, 360), (0.0, 0.07), (0.82, 0.97)),
    "navy": _Range((212, 245), (0.40, 0.75), (0.12, 0.30)),
    "blue": _Range((200, 235), (0.45, 0.90), (0.40, 0.80)),
    "sky": _Range((195, 222), (0.20, 0.50), (0.65, 0.92)),
    "denim": _Range((205, 226), (0.28, 0.60), (0.26, 0.62)),
    "pale_denim": _Range((203, 220), (0.15, 0.35), (0.58, 0.80)),
    "red": _Range((-10, 8), (0.65, 0.95), (0.45, 0.85)),
    "wine": _Range((-20, 2), (0.50, 0.80), (0.22, 0.45)),
    "orange": _Range((10, 32), (0.65, 0.95), (0.70, 0.95)),
    "yellow": _Range((42, 58), (0.45, 0.90), (0.75, 0.95)),
    "green": _Range((85, 160), (0.35, 0.80), (0.30, 0.70)),
    "olive": _Range((50, 85), (0.25, 0.55), (0.22, 0.45)),
    "teal": _Range((165, 192), (0.40, 0.80), (0.30, 0.70)),
    "purple": _Range((255, 295), (0.30, 0.65), (0.30, 0.65)),
    "pink": _Range((325, 355), (0.20, 0.60), (0.70, 0.95)),
    "beige": _Range((28, 45), (0.15, 0.38), (0.60, 0.85)),
    "khaki": _Range((30, 46), (0.25, 0.48), (0.42, 0.66)),
    "brown": _Range((12, 30), (0.35, 0.65), (0.20, 0.45)),
}
"""Names of clothes' colours."""

_UPPER = (
    "black 20, charcoal 7, grey 11, white 16, navy 9, blue 6, sky 5, denim 2, red 5, wine 3, "
    "orange 2, yellow 2, green 3, olive 2, teal 2, purple 2, pink 4, beige 4, khaki 2, brown 3"
)
_LOWER = (
    "black 27, charcoal 8, grey 8, white 3, navy 9, blue 2, denim 22, pale_denim 7, olive 2, beige 4, "
    "khaki 6, brown 3, wine 1, red 1, green 1, pink 1"
)
_SHOES = "black 34, white 22, grey 10, brown 14, navy 5, red 4, beige 5, blue 2, pink 1, green 1, yellow 1"
_BAG = (
    "black 38, charcoal 9, navy 8, grey 7, brown 9, red 7, blue 6, khaki 4, beige 4, green 3, pink 3, "
    "purple 2"
)
_SKINS = ((0.93, 0.77, 0.66), (0.86, 0.67, 0.53), (0.78, 0.57, 0.42), (0.58, 0.40, 0.28), (0.36, 0.24, 0.17))
HAIRS = ((0.07, 0.06, 0.06), (0.16, 0.11, 0.08), (0.30, 0.19, 0.12), (0.62, 0.48, 0.28), (0.62, 0.61, 0.60))
_PATTERNS = (
    "plain 50, melange 10, rings 9, pinstripes 3, checks 6, plaid 6, dots 2, floral 4, camouflage 2, "
    "fade 2, halves 3, band 3"
)


@dataclass(frozen=True, slots=True)
class Fabric:
    """Cloth: RGB shares, what is on it, how large that is (body heights), and its own seed."""

    colour: Colour
    pattern: str = "plain"
    second: Colour = (0.5, 0.5, 0.5)
    third: Colour = (0.5, 0.5, 0.5)
    size: float = 0.03
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Age:
    """What years make of a body; as it stands, of a grown-up's nothing.

    Attributes:
        head, legs: how much larger the head and how much longer the legs are against the trunk.
        size: of a grown-up's height.
        stoop: how far the back is bent, radians.
        pace: of the steps, against a grown-up's.
        stick: in the right hand.
    """

    head: float = 1.0
    legs: float = 1.0
    size: float = 1.0
    stoop: float = 0.0
    pace: float = 1.0
    stick: bool = False


@dataclass(frozen=True, slots=True)
class Outfit:
    """One person. Lengths are shares of the body height, other shares run from 0 to 1.

    Attributes:
        stature: metres; boxes fit people, so no crop shows it.
        build, shoulders, hips: thin to stout, narrow to broad.
        skin, hair: RGB shares.
        hair_kind: bald, short, bob, long, tied, bun.
        hat: none, cap, beanie or brim, of colour hat_colour.
        upper: the outermost garment; sleeves end at the share ``sleeve`` of the arm, and it hangs down to
            ``hem`` of the leg (0 is the hip).
        sleeves: cloth of its sleeves.
        inner: below it, seen in ``opening`` (half-width, radians) and below the upper garment's hem.
        loose: how far garments stand off the body; above 1 for thick ones.
        closure: none, zip, buttons, lapels.
        collar: its colour, and that of the sleeves' ends; None: the garment's own.
        front_print, back_print: none, text, disc, picture, logo, panel.
        lower_kind: trousers, slim, wide, shorts, skirt, dress, leggings.
        lower_length: of shorts and skirts, as a share of the leg.
        lower_width: of their legs, or how far a skirt flares.
        legwear: the colour of what covers bare legs; a negative red stands for nothing.
        boot: how far shoes reach up the shin; 0: not.
        side_stripe: down the trousers' and sleeves' sides.
        bag: none, backpack, one_strap, cross, shoulder, hand, sack.
        age: what it makes of their body.
    """

    stature: float
    build: float
    shoulders: float
    hips: float
    skin: Colour
    hair: Colour
    hair_kind: str
    hair_length: float
    hat: str
    hat_colour: Colour
    glasses: bool
    upper: Fabric
    sleeves: Fabric
    inner: Fabric
    sleeve: float
    hem: float
    loose: float
    opening: float
    closure: str
    hood: bool
    collar: Colour | None
    front_print: str
    back_print: str
    print_colours: tuple[Colour, Colour, Colour]
    print_size: float
    lower: Fabric
    lower_kind: str
    lower_length: float
    lower_width: float
    legwear: Colour
    side_stripe: Colour | None
    belt: Colour | None
    shoes: Colour
    soles: Colour
    boot: float
    bag: str
    bag_fabric: Fabric
    bag_size: float
    seed: int
    age: Age = Age()


@lru_cache(maxsize=64)
def _shares(weights: str) -> tuple[list[str], npt.NDArray[np.float64]]:
    words = [part.split() for part in weights.split(", ")]
    summed = np.cumsum([float(weight) for _, weight in words])
    return [name for name, _ in words], summed / summed[-1]


def _pick(rng: _Rng, weights: str) -> str:
    """One of the names in "NAME WEIGHT, NAME WEIGHT"."""
    names, shares = _shares(weights)
    return names[int(np.searchsorted(shares, rng.random()))]


def _colour(rng: _Rng, weights: str) -> Colour:
    return _of_range(rng, COLOURS[_pick(rng, weights)])


def _of_range(rng: _Rng, of: _Range) -> Colour:
    hue, saturation, value = (rng.uniform(*ends) for ends in of)
    pixel = np.array([[[hue % 360, saturation, value]]], np.float32)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def near(rng: _Rng, colours: tuple[Colour, ...], weights: tuple[float, ...], spread: float) -> Colour:
    """A colour like one of these, drawn by weight."""
    place = rng.choice(len(colours), p=np.array(weights) / sum(weights))
    mixed = np.array(colours[place]) * np.exp(rng.normal(0, spread) + rng.normal(0, spread / 4, 3))
    red, green, blue = np.clip(mixed, 0.02, 1).tolist()
    return red, green, blue


def _fabric(rng: _Rng, weights: str, patterned: float, size: tuple[float, float]) -> Fabric:
    colour, second, third = (_colour(rng, weights) for _ in range(3))
    if rng.random() < 0.4:
        second = _of_range(rng, COLOURS[("white", "black", "grey", "navy")[int(rng.integers(4))]])
    pattern = _pick(rng, _PATTERNS)
    plain = rng.random() >= patterned
    seed = int(rng.integers(2**31))
    return Fabric(colour, "plain" if plain else pattern, second, third, float(rng.uniform(*size)), seed)


def draw_outfit(spec: WardrobeSpec, person: int) -> Outfit:
    """What this person looks like in all cameras."""
    rng = generator(spec.seed, "wardrobe person", person)
    female = bool(rng.random() < 0.47)
    cuts = bool(rng.random() < spec.cuts)
    upper = _fabric(rng, _UPPER, spec.patterns, (0.018, 0.07))
    style = _pick(rng, "tee 34, polo 7, sweater 14, shirt 11, jacket 20, coat 8, vest 4, tank 3")
    style = style if cuts else "tee"
    lower = _fabric(rng, _LOWER, 0.12 * spec.patterns, (0.02, 0.05))
    inner = _fabric(rng, _UPPER, 0.5 * spec.patterns, (0.018, 0.05))
    kinds = (
        "slim 30, trousers 18, wide 5, shorts 11, skirt 11, dress 12, leggings 13"
        if female
        else "trousers 48, slim 24, wide 8, shorts 20"
    )
    lower_kind = _pick(rng, kinds)
    lower_kind = lower_kind if cuts else "trousers"
    open_, closure = 0.0, "none"
    if style in ("jacket", "coat", "vest", "shirt"):
        closure = _pick(rng, "zip 4, buttons 4, lapels 3")
        if rng.random() < 0.55:
            open_ = float(rng.uniform(0.12, 0.75))
    sleeve = {"tee": rng.uniform(0.2, 0.42), "polo": rng.uniform(0.2, 0.4), "tank": 0.0, "vest": 0.0}.get(
        style, 0.92 if rng.random() < 0.8 else float(rng.uniform(0.45, 0.8))
    )
    hem = {
        "coat": rng.uniform(0.25, 0.62),
        "jacket": rng.uniform(0.0, 0.14),
        "tee": rng.uniform(0.0, 0.12),
    }.get(style, float(rng.uniform(-0.03, 0.14)))
    hem = 0.14 if female and style == "sweater" and rng.random() < 0.3 else hem
    sleeves = upper
    if rng.random() < (0.12 if style in ("tee", "sweater", "jacket") else 0.0) * spec.patterns:
        sleeves = _fabric(rng, _UPPER, 0.1, (0.02, 0.05))
    if style == "vest":
        sleeves = inner
        sleeve = 0.92 if rng.random() < 0.6 else 0.3
    prints = {"tee": 0.5, "sweater": 0.35, "jacket": 0.18, "tank": 0.4}.get(style, 0.08) * spec.patterns
    front = _pick(rng, "text 4, disc 2, picture 4, logo 4, panel 2") if rng.random() < prints else "none"
    back = _pick(rng, "text 4, disc 2, picture 2, panel 1") if rng.random() < 0.3 * prints else "none"
    hair_kind = _pick(
        rng,
        "short 6, bob 18, long 38, tied 28, bun 10" if female else "short 86, bald 5, bob 6, tied 3",
    )
    hat = _pick(rng, "none 88, cap 7, beanie 3, brim 2") if cuts else "none"
    bag = _pick(rng, "backpack 42, one_strap 6, cross 18, shoulder 15, hand 13, sack 6")
    bag = bag if rng.random() < 0.58 * spec.bags else "none"
    age = float(rng.uniform(0, 1))
    hair_weights = (70, 22, 10, 4, 6) if age < 0.85 else (20, 5, 2, 1, 30)
    if closure == "none" and style == "polo":
        closure = "buttons"
    return Outfit(
        stature=float((1.62 if female else 1.74) + rng.normal(0, 0.065)),
        build=float(np.clip(rng.normal(0.4 if female else 0.5, 0.22), 0, 1)),
        shoulders=float(np.clip(rng.normal(0.3 if female else 0.65, 0.18), 0, 1)),
        hips=float(np.clip(rng.normal(0.65 if female else 0.35, 0.2), 0, 1)),
        skin=near(rng, _SKINS, (34, 34, 16, 9, 7), 0.07),
        hair=near(rng, HAIRS, hair_weights, 0.15),
        hair_kind=hair_kind,
        hair_length=float(rng.uniform(0, 1)),
        hat=hat,
        hat_colour=_colour(rng, _UPPER),
        glasses=bool(rng.random() < 0.25),
        upper=upper,
        sleeves=sleeves,
        inner=inner,
        sleeve=float(sleeve),
        hem=float(hem),
        loose=float(rng.uniform(0, 1)) + 0.35 * (style in ("jacket", "coat", "sweater")),
        opening=open_,
        closure=closure,
        hood=bool(style in ("jacket", "sweater") and rng.random() < 0.35),
        collar=_colour(rng, _UPPER) if rng.random() < 0.15 * spec.patterns else None,
        front_print=front,
        back_print=back,
        print_colours=(_colour(rng, _UPPER), _colour(rng, _UPPER), _colour(rng, _UPPER)),
        print_size=float(rng.uniform(0.5, 1.2)),
        lower=upper if lower_kind == "dress" and rng.random() < 0.75 else lower,
        lower_kind=lower_kind,
        lower_length=float(rng.uniform(0.28, 0.6) if lower_kind == "shorts" else rng.uniform(0.3, 0.85)),
        lower_width=float(rng.uniform(0, 1)),
        legwear=_legwear(rng, lower_kind),
        side_stripe=_of_range(rng, COLOURS["white"]) if rng.random() < 0.06 * spec.patterns else None,
        belt=_colour(rng, _BAG) if rng.random() < 0.2 else None,
        shoes=_colour(rng, _SHOES),
        soles=_of_range(rng, COLOURS["white" if rng.random() < 0.5 else "black"]),
        boot=float(rng.uniform(0.15, 0.75)) if female and rng.random() < 0.15 else 0.0,
        bag=bag,
        bag_fabric=_fabric(rng, _BAG, 0.3 * spec.patterns, (0.02, 0.06)),
        bag_size=float(rng.uniform(0, 1)),
        seed=int(rng.integers(2**31)),
    )


def _legwear(rng: _Rng, lower_kind: str) -> Colour:
    """What covers bare legs; a negative red stands for nothing."""
    if lower_kind in ("skirt", "dress") and rng.random() < 0.5:
        return _colour(rng, "black 8, charcoal 2, navy 1, beige 1, grey 1")
    return (-1.0, 0.0, 0.0)
