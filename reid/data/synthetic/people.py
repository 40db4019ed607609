"""Who lives in the synthetic town: what a person looks like, as data. Nothing is drawn here."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from reid.data.synthetic.seeds import generator

__all__ = [
    "PASSERS_BY",
    "Appearance",
    "Colour",
    "attribute_names",
    "changed_clothes",
    "dressed",
    "look_alike_of",
    "sample_person",
]

Colour = tuple[float, float, float]
Pattern = Literal["plain", "stripes", "pinstripes", "checks", "dots", "blocks", "band", "logo"]
Lower = Literal["trousers", "shorts", "skirt"]
Bag = Literal["none", "backpack", "shoulder", "hand"]
Hat = Literal["none", "cap", "beanie"]

_T = TypeVar("_T")
# Passers-by have numbers of their own, so that nobody of the town is drawn into another's crop.
PASSERS_BY = 10_000
# Out of every eight people in a row the first three dress alike.
_GROUP, _ALIKE = 8, 3
_STATURE_M = (1.52, 1.94)

_CLOTH: dict[str, Colour] = {
    "black": (0.09, 0.09, 0.10),
    "charcoal": (0.24, 0.24, 0.26),
    "grey": (0.50, 0.50, 0.50),
    "white": (0.90, 0.90, 0.87),
    "navy": (0.11, 0.15, 0.32),
    "denim": (0.25, 0.36, 0.54),
    "sky": (0.52, 0.69, 0.84),
    "red": (0.72, 0.14, 0.14),
    "wine": (0.40, 0.10, 0.17),
    "pink": (0.87, 0.56, 0.64),
    "orange": (0.87, 0.44, 0.14),
    "mustard": (0.80, 0.63, 0.19),
    "green": (0.18, 0.46, 0.25),
    "olive": (0.36, 0.37, 0.20),
    "teal": (0.11, 0.46, 0.49),
    "purple": (0.41, 0.23, 0.50),
    "beige": (0.77, 0.69, 0.55),
    "brown": (0.38, 0.25, 0.16),
}
_LOWER_CLOTH = (
    "black",
    "black",
    "charcoal",
    "grey",
    "navy",
    "navy",
    "denim",
    "denim",
    "beige",
    "olive",
    "brown",
    "white",
    "wine",
    "teal",
)
_SHOES = ("black", "black", "white", "white", "grey", "brown", "red", "sky", "navy", "mustard", "pink")
_SKIN: tuple[Colour, ...] = (
    (0.93, 0.77, 0.67),
    (0.87, 0.68, 0.55),
    (0.74, 0.54, 0.41),
    (0.55, 0.37, 0.27),
    (0.37, 0.25, 0.19),
)
_HAIR: tuple[Colour, ...] = (
    (0.08, 0.07, 0.07),
    (0.22, 0.14, 0.09),
    (0.40, 0.26, 0.15),
    (0.78, 0.62, 0.36),
    (0.55, 0.24, 0.12),
    (0.68, 0.67, 0.66),
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """What one person looks like on one day. Colours are RGB in [0, 1]; shares without a unit are in [0, 1].

    Attributes:
        stature: body height in metres.
        build: slim to broad.
        hips: straight to waisted.
        hair_length: 0 bald, 0.2 cropped, 0.6 to the shoulders, 1 to the middle of the back.
        upper_second: the colour of the pattern.
        pattern_scale: fine to coarse.
        sleeve: share of the arm that is covered.
        hem: how far the upper garment falls, from hip to knee.
        opening: how far a jacket stands open over ``inner``; 0 is closed.
        lower_length: share of the leg that is covered.
        lower_width: tight to wide.
        side_stripe: a stripe of ``shoes`` colour down the outer leg.
        boot: how far the shoe reaches up the shin.
    """

    stature: float
    build: float
    hips: float
    skin: Colour
    hair: Colour
    hair_length: float
    hair_tied: bool
    upper: Colour
    upper_second: Colour
    pattern: Pattern
    pattern_scale: float
    sleeve: float
    hem: float
    hood: bool
    opening: float
    inner: Colour
    lower_kind: Lower
    lower: Colour
    lower_length: float
    lower_width: float
    side_stripe: bool
    shoes: Colour
    boot: float
    bag: Bag
    bag_colour: Colour
    hat: Hat
    hat_colour: Colour

    def as_vector(self) -> npt.NDArray[np.float32]:
        """The attributes as (D,) float32 in [0, 1], named by `attribute_names`; a label whose distances mean
        likeness.

        Kinds are one-hot. The colour of what is not worn or not seen is 0, so that it cannot set two people
        apart.
        """
        unseen = {
            "upper_second": self.pattern == "plain",
            "inner": self.opening == 0.0,
            "bag_colour": self.bag == "none",
            "hat_colour": self.hat == "none",
            "hair": self.hair_length == 0.0,
        }
        low, high = _STATURE_M
        values: list[float] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                values += [float(value == kind) for kind in _KINDS[field.name]]
            elif isinstance(value, tuple):
                values += (0.0, 0.0, 0.0) if unseen.get(field.name, False) else value
            else:
                values.append((value - low) / (high - low) if field.name == "stature" else float(value))
        return np.asarray(values, dtype=np.float32)


_KINDS: dict[str, tuple[str, ...]] = {
    "pattern": get_args(Pattern),
    "lower_kind": get_args(Lower),
    "bag": get_args(Bag),
    "hat": get_args(Hat),
}
_COLOURS = ("skin", "hair", "upper", "upper_second", "inner", "lower", "shoes", "bag_colour", "hat_colour")


def attribute_names() -> tuple[str, ...]:
    """The names of the D entries of `Appearance.as_vector`, in order."""
    names: list[str] = []
    for field in fields(Appearance):
        if field.name in _KINDS:
            names += [f"{field.name}={kind}" for kind in _KINDS[field.name]]
        elif field.name in _COLOURS:
            names += [f"{field.name}.{channel}" for channel in "rgb"]
        else:
            names.append(field.name)
    return tuple(names)


def look_alike_of(identity: int) -> int | None:
    """The identity whose outfit this one shares but for details, or None for an outfit of one's own."""
    place = (identity - 1) % _GROUP
    return identity - place if 0 < place < _ALIKE else None


@lru_cache(maxsize=1024)
def sample_person(seed: int, identity: int) -> Appearance:
    """The appearance of an identity (from 1 on); it depends on the seed and the identity alone."""
    rng = generator(seed, "appearance", identity)
    original = look_alike_of(identity)
    return _random_person(rng) if original is None else _change_details(sample_person(seed, original), rng)


_LASTING = ("stature", "build", "hips", "skin", "hair", "hair_length", "hair_tied")


def changed_clothes(seed: int, identity: int) -> Appearance:
    """The same person on another day: body, skin and hair as in `sample_person`, all that is worn drawn
    anew.
    """
    person = sample_person(seed, identity)
    other = _random_person(generator(seed, "clothes", identity))
    worn = replace(other, **{name: getattr(person, name) for name in _LASTING})
    # A skirt is drawn for waisted bodies only, as in the first outfit.
    return (
        replace(worn, lower_kind="trousers", lower_length=1.0)
        if worn.lower_kind == "skirt" and person.hips < 0.5
        else worn
    )


def dressed(seed: int, identity: int, share: float, another_day: bool) -> Appearance:
    """A person on one day or another, in a town where that share of the people changes clothes between
    them.
    """
    changes = another_day and share > 0 and generator(seed, "changes", identity).random() < share
    return changed_clothes(seed, identity) if changes else sample_person(seed, identity)


def _shade(rng: np.random.Generator, colour: Colour, spread: float = 0.035) -> Colour:
    shifted = np.clip(np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 2, 3), 0.03, 0.96)
    return (round(float(shifted[0]), 3), round(float(shifted[1]), 3), round(float(shifted[2]), 3))


def _cloth(
    rng: np.random.Generator, names: Sequence[str] = tuple(_CLOTH), apart_from: Colour | None = None
) -> Colour:
    """A cloth colour; with ``apart_from``, one that can be told from it."""
    while True:
        colour = _shade(rng, _CLOTH[names[int(rng.integers(len(names)))]])
        if apart_from is None or np.abs(np.subtract(colour, apart_from)).max() > 0.28:
            return colour


def _pick(rng: np.random.Generator, weights: dict[_T, float]) -> _T:
    share = np.asarray(list(weights.values()))
    return list(weights)[int(rng.choice(len(weights), p=share / share.sum()))]


def _random_person(rng: np.random.Generator) -> Appearance:
    waisted = rng.random() < 0.5
    upper = _cloth(rng)
    kind: Lower = _pick(rng, {"trousers": 0.66, "shorts": 0.16, "skirt": 0.18 if waisted else 0.0})
    length = {"trousers": 1.0, "shorts": rng.uniform(0.34, 0.5), "skirt": rng.uniform(0.34, 0.8)}[kind]
    jacket = rng.random() < 0.38
    pattern: Pattern = _pick(
        rng,
        {
            "plain": 3.2,
            "stripes": 1.0,
            "pinstripes": 0.5,
            "checks": 1.0,
            "dots": 0.5,
            "blocks": 1.0,
            "band": 0.8,
            "logo": 1.2,
        },
    )
    hat: Hat = _pick(rng, {"none": 0.74, "cap": 0.14, "beanie": 0.12})
    return Appearance(
        **_body(rng, waisted),
        **_hair(rng, waisted),
        upper=upper,
        upper_second=_cloth(rng, apart_from=upper),
        pattern=pattern,
        pattern_scale=round(float(rng.random()), 2),
        sleeve=1.0 if jacket else float(_pick(rng, {1.0: 0.55, 0.38: 0.38, 0.08: 0.07})),
        hem=round(float(rng.uniform(0.45, 0.9)), 2)
        if jacket and rng.random() < 0.45
        else round(float(rng.uniform(0.0, 0.16)), 2),
        hood=bool(rng.random() < 0.3),
        opening=round(float(rng.uniform(0.3, 0.8)), 2) if jacket and rng.random() < 0.7 else 0.0,
        inner=_cloth(rng, apart_from=upper),
        lower_kind=kind,
        lower=_cloth(rng, _LOWER_CLOTH),
        lower_length=round(float(length), 2),
        lower_width=round(float(rng.random()), 2),
        side_stripe=bool(kind == "trousers" and rng.random() < 0.15),
        shoes=_cloth(rng, _SHOES),
        boot=round(float(rng.uniform(0.35, 0.75)), 2) if rng.random() < 0.22 else 0.0,
        bag=_pick(rng, {"none": 0.36, "backpack": 0.27, "shoulder": 0.2, "hand": 0.17}),
        bag_colour=_cloth(rng, apart_from=upper),
        hat=hat,
        hat_colour=_cloth(rng),
    )


def _body(rng: np.random.Generator, waisted: bool) -> dict[str, Any]:
    stature = np.clip(rng.normal(1.66 if waisted else 1.78, 0.065), *_STATURE_M)
    return {
        "stature": round(float(stature), 3),
        "build": round(float(rng.beta(2, 2)), 2),
        "hips": round(float(rng.uniform(0.55, 1.0) if waisted else rng.uniform(0.0, 0.4)), 2),
    }


def _hair(rng: np.random.Generator, waisted: bool) -> dict[str, Any]:
    length = rng.uniform(0.4, 1.0) if waisted else (0.0 if rng.random() < 0.15 else rng.uniform(0.12, 0.45))
    return {
        "skin": _shade(rng, _SKIN[int(rng.choice(5, p=(0.3, 0.26, 0.2, 0.14, 0.1)))], 0.02),
        "hair": _shade(rng, _HAIR[int(rng.choice(6, p=(0.28, 0.26, 0.16, 0.14, 0.06, 0.1)))], 0.025),
        "hair_length": round(float(length), 2),
        "hair_tied": bool(length > 0.5 and rng.random() < 0.4),
    }


def _change_details(original: Appearance, rng: np.random.Generator) -> Appearance:
    """Another person in nearly the same outfit: shape, head and three details are their own, two of which
    leap to the eye.
    """
    details: tuple[tuple[str, ...], ...] = (
        ("bag", "bag_colour"),
        ("shoes", "boot"),
        ("hat", "hat_colour"),
        ("pattern", "upper_second", "pattern_scale"),
        ("inner", "opening"),
        ("lower",),
    )
    own = ("stature", "build", "skin", "hair", "hair_length", "hair_tied")
    while True:
        other = _random_person(rng)
        chosen = [details[i] for i in rng.permutation(len(details))[:3]]
        changed = [replace(original, **{name: getattr(other, name) for name in group}) for group in chosen]
        apart = [float(np.linalg.norm(person.as_vector() - original.as_vector())) for person in changed]
        if sum(distance > 0.45 for distance in apart) >= 2:
            return replace(original, **{name: getattr(other, name) for name in (*sum(chosen, ()), *own)})
