"""A clothed body in a pose, as the solids it is made of."""

from collections.abc import Iterator
from dataclasses import replace
from math import cos, pi, sin

import numpy as np

from reid.data.synthetic.wardrobe.atlas import ROWS
from reid.data.synthetic.wardrobe.outfits import Outfit
from reid.data.synthetic.wardrobe.solids import Point, Solid
from reid.data.synthetic.wardrobe.stances import Stance

__all__ = ["solids_of"]

_HIP, _ANKLE, _THIGH, _SHIN = 0.505, 0.04, 0.23, 0.235
_LEG = _THIGH + _SHIN
_CHIN, _CROWN = 0.028, 0.165  # over the base of the neck
_TORSO = np.array([0.040, 0.066, 0.104, 0.114, 0.112, 0.107, 0.102, 0.098, 0.095, 0.096, 0.099, 0.1, 0.098])
_WAIST = np.array([0, 0, 0, 0, 0, -0.02, -0.06, -0.1, -0.12, -0.04, 0.06, 0.1, 0.08])
_BROAD = np.array([0, 0.4, 1, 1, 0.9, 0.7, 0.4, 0.2, 0, 0, 0, 0, 0])


def solids_of(outfit: Outfit, stance: Stance) -> Iterator[Solid]:
    """All solids of a person who stands like this, one high; the ground is at y = 0."""
    age = outfit.age
    longer = (_CROWN - _CHIN) * (age.head - 1) - _LEG * (1 - age.legs)
    for solid in _solids(outfit, stance):
        yield solid if longer == 0 else _scaled(solid, 1 / (1 + longer))


def _scaled(solid: Solid, by: float) -> Solid:
    (x0, y0, z0), (x1, y1, z1) = solid.start, solid.end
    knots = [by * knot for knot in solid.knots]
    return replace(solid, start=(by * x0, by * y0, by * z0), end=(by * x1, by * y1, by * z1), knots=knots)


def _solids(outfit: Outfit, stance: Stance) -> Iterator[Solid]:
    legs, drop = _joints_of_legs(outfit, stance)
    pelvis: Point = (0.0, _HIP - drop, 0.0)
    lean = stance.lean + 0.05 * (outfit.bag == "backpack") + outfit.age.stoop
    yield from _legs(outfit, legs)
    yield from _trunk(outfit, stance, pelvis, lean)
    arms = list(_joints_of_arms(outfit, stance, pelvis, lean))
    yield from _arms(outfit, arms)
    yield from _head(outfit, stance, pelvis, lean)
    yield from _bags(outfit, arms, pelvis, lean)
    if outfit.age.stick:
        hand = arms[1][2]
        yield Solid(hand, (hand[0] - 0.02, 0.0, hand[2] + 0.06), (0.009, 0.008), ROWS["stick"])


_Chain = tuple[Point, Point, Point]


def _joints_of_legs(outfit: Outfit, stance: Stance) -> tuple[list[_Chain], float]:
    chains = []
    apart = 0.044 + 0.012 * outfit.hips
    upper, lower, bent = _THIGH * outfit.age.legs, _SHIN * outfit.age.legs, outfit.age.stoop
    for side in (1, -1):
        phase = stance.phase + (0 if side > 0 else pi)
        thigh = stance.stride * sin(phase) + 0.02 + 0.35 * bent
        shin = thigh - 0.04 - 1.7 * stance.stride * max(0.0, cos(phase + 0.35)) ** 1.5 - 0.7 * bent
        knee = (side * apart, _HIP - upper * cos(thigh), upper * sin(thigh))
        foot_x = side * (0.8 * apart + stance.leg_spread)
        foot = (foot_x, knee[1] - lower * cos(shin), knee[2] + lower * sin(shin))
        chains.append(((side * apart, _HIP, 0.0), knee, foot))
    drop = min(foot[1] for _, _, foot in chains) - _ANKLE
    lowered = [tuple((x, y - drop, z) for x, y, z in chain) for chain in chains]
    return [(hip, knee, foot) for hip, knee, foot in lowered], drop


def _at(pelvis: Point, lean: float, x: float, up: float, ahead: float) -> Point:
    """A point of the trunk, ``up`` along it from the pelvis and ``ahead`` of it."""
    return (x, pelvis[1] + up * cos(lean) - ahead * sin(lean), pelvis[2] + up * sin(lean) + ahead * cos(lean))


def _legs(outfit: Outfit, legs: list[_Chain]) -> Iterator[Solid]:
    stout = 0.84 + 0.34 * outfit.build
    first, last = ROWS["leg"]
    middle = (first + last) / 2
    covered = outfit.lower_kind in ("trousers", "slim", "wide", "leggings")
    loose = {"trousers": 0.008, "slim": 0.002, "wide": 0.02}.get(outfit.lower_kind, 0.0)
    loose *= 0.5 + outfit.lower_width
    for hip, knee, foot in legs:
        wide = 0.016 * outfit.lower_width if outfit.lower_kind == "shorts" else loose
        thigh = 0.062 * stout + 0.004 * outfit.hips
        yield Solid(
            hip, knee, (thigh + 0.3 * wide, 0.055 * stout + 0.7 * wide, 0.043 * stout + wide), (first, middle)
        )
        shin = (
            0.042 * stout + loose,
            0.043 * stout + loose,
            0.030 * stout + loose,
            0.025 * stout + 1.2 * loose,
        )
        yield Solid(knee, (foot[0], foot[1] + 0.012 * covered, foot[2]), shin, (middle, last), round=0.4)
        s0, s1 = ROWS["shoes"]
        swing = max(-0.8, min(0.0, (foot[1] - _ANKLE) * -6))
        heel = (foot[0], foot[1] - 0.014, foot[2] - 0.012)
        toe = (foot[0] * 1.3, heel[1] - 0.004 + 0.1 * sin(swing), foot[2] + 0.095 * cos(swing))
        yield Solid(heel, toe, (0.027, 0.028, 0.021), (s0, s0 + 3), flat=0.9)
        sole = 0.012
        yield Solid(
            (heel[0], heel[1] - sole, heel[2]),
            (toe[0], toe[1] - sole, toe[2]),
            (0.025, 0.025, 0.019),
            (s1 - 1, s1 - 1),
        )


def _trunk(outfit: Outfit, stance: Stance, pelvis: Point, lean: float) -> Iterator[Solid]:
    thick = 0.011 * outfit.loose
    widths = _TORSO * (1 + (2 * outfit.hips - 0.5) * _WAIST) * (0.86 + 0.3 * outfit.build)
    widths = widths * (1 + 0.12 * (outfit.shoulders - 0.4) * _BROAD) + thick
    if outfit.lower_kind != "dress" and outfit.loose > 0.4:
        # What hangs loose hides the waist.
        widths[5:] = np.maximum(widths[5:], 0.94 * widths[4])
    flat = 0.60 + 0.16 * outfit.build
    first, last = ROWS["torso"]
    top, bottom = _at(pelvis, lean, 0, 0.345, -0.008), _at(pelvis, lean, 0, -0.02, 0)
    yield Solid(top, bottom, widths.tolist(), (first, last), flat=flat, round=0.12)
    at_hip = float(widths[-1])
    swing = 0.3 * stance.stride
    if outfit.lower_kind in ("skirt", "dress"):
        length = 0.08 + 0.40 * outfit.lower_length
        flare = 0.005 + 0.055 * outfit.lower_width + 0.06 * swing
        end = (0.0, pelvis[1] + 0.03 - length, 0.01)
        knots = (0.96 * at_hip, at_hip + 0.006, at_hip + 0.5 * flare, at_hip + flare)
        yield Solid((0.0, pelvis[1] + 0.03, 0.0), end, knots, ROWS["skirt"], flat=0.8, round=0.05)
    if outfit.hem > 0.02:
        flare = 0.008 + 0.03 * min(1.0, 2 * outfit.hem) + 0.08 * swing
        end = (0.0, pelvis[1] - 0.01 - 0.46 * outfit.hem, 0.0)
        opened = (
            (outfit.opening, 1.5 * outfit.opening + 0.1) if outfit.opening and outfit.hem > 0.15 else None
        )
        yield Solid(
            (0.0, pelvis[1] + 0.02, 0.0),
            end,
            (at_hip + 0.004, at_hip + 0.006 + flare),
            ROWS["coat"],
            flat=0.78,
            round=0.05,
            opening=opened,
        )
    if outfit.hood:
        yield Solid(
            _at(pelvis, lean, 0, 0.36, -0.045),
            _at(pelvis, lean, 0, 0.285, -0.066),
            (0.05, 0.066, 0.06, 0.04),
            ROWS["hood"],
            flat=0.6,
        )


def _joints_of_arms(outfit: Outfit, stance: Stance, pelvis: Point, lean: float) -> Iterator[_Chain]:
    reach = (0.096 + 0.02 * outfit.shoulders) * (0.92 + 0.16 * outfit.build)
    for side, doing in zip((1, -1), stance.arms, strict=True):
        leans = outfit.age.stick and side < 0
        carries = leans or (outfit.bag in ("hand", "sack") and side < 0)
        swing = -(0.2 if carries else 0.85) * stance.stride * sin(stance.phase + (0 if side > 0 else pi))
        forward, bend, spread, inward = swing, stance.bend + max(0.0, swing), stance.spread, 0.0
        if carries:
            bend = 0.3 if leans else 0.06
        elif doing == "pocket":
            forward, bend, spread, inward = -0.25, 0.5, 0.22, 0.35
        elif doing == "ear":
            forward, bend, spread, inward = 0.35, 2.35, 0.35, 0.25
        elif doing == "front":
            forward, bend, spread, inward = 0.15, 1.45, 0.1, 0.55
        elif doing == "strap":
            forward, bend, spread, inward = 0.1, 2.3, 0.3, 0.15
        shoulder = _at(pelvis, lean, side * reach, 0.283, -0.006)
        elbow = (
            shoulder[0] + side * 0.165 * sin(spread),
            shoulder[1] - 0.165 * cos(spread) * cos(forward),
            shoulder[2] + 0.165 * cos(spread) * sin(forward),
        )
        turned = forward + bend
        hand = (
            elbow[0] + side * 0.15 * (0.4 * sin(spread) - sin(inward)),
            elbow[1] - 0.15 * cos(inward) * cos(turned),
            elbow[2] + 0.15 * cos(inward) * sin(turned),
        )
        yield shoulder, elbow, hand


def _arms(outfit: Outfit, arms: list[_Chain]) -> Iterator[Solid]:
    first, last = ROWS["arm"]
    middle = first + 0.5 * (last - first)
    stout = 0.82 + 0.36 * outfit.build
    loose = 0.008 * outfit.loose
    upper = loose if outfit.sleeve > 0.1 else 0.0
    fore = loose if outfit.sleeve > 0.6 else 0.0
    for shoulder, elbow, hand in arms:
        yield Solid(
            shoulder,
            elbow,
            (0.034 * stout + upper, 0.031 * stout + upper, 0.027 * stout + fore),
            (first, middle),
        )
        yield Solid(
            elbow, hand, (0.026 * stout + fore, 0.025 * stout + fore, 0.019 * stout + fore), (middle, last)
        )
        beyond: Point = tuple(h + 0.28 * (h - e) for h, e in zip(hand, elbow, strict=True))  # type: ignore[assignment]
        yield Solid(hand, beyond, (0.017, 0.022, 0.015), ROWS["skin"])


def _head(outfit: Outfit, stance: Stance, pelvis: Point, lean: float) -> Iterator[Solid]:
    big, stoop = outfit.age.head, outfit.age.stoop
    # A bent back carries the head ahead, which looks up again.
    tilt = lean + stance.head_tilt - 0.8 * stoop
    base = _at(pelvis, lean, 0, 0.335, -0.006 + 0.06 * stoop)

    def at(up: float, ahead: float, x: float = 0.0) -> Point:
        up, ahead = up + (up - _CHIN) * (big - 1), ahead * big
        side, front = sin(stance.head_turn), cos(stance.head_turn)
        return (
            base[0] + x * front + ahead * side,
            base[1] + up * cos(tilt) - ahead * sin(tilt),
            base[2] + up * sin(tilt) + ahead * front * cos(tilt) - x * side,
        )

    def broad(*knots: float) -> list[float]:
        return [big * knot for knot in knots]

    yield Solid(base, at(0.06, 0.004), (0.034, 0.030), ROWS["skin"], round=0.3)
    full = 1.0 + 0.05 * (outfit.hair_kind in ("bob", "long")) + 0.05 * (outfit.hat == "beanie")
    skull = [w * full for w in broad(0.022, 0.040, 0.049, 0.053, 0.053, 0.050, 0.046, 0.039, 0.024)]
    yield Solid(
        at(0.16, 0.006), at(0.034, 0.012), skull, ROWS["head"], flat=1.15, round=0.25, turn=stance.head_turn
    )
    hair, length = ROWS["hair"], outfit.hair_length
    if outfit.hair_kind == "bob":
        knots = broad(0.052, 0.06, 0.062, 0.052)
        yield Solid(
            at(0.11, -0.012),
            at(0.015 - 0.02 * length, -0.018),
            knots,
            hair,
            flat=0.85,
            turn=stance.head_turn,
            round=0.3,
        )
    elif outfit.hair_kind == "long":
        end = _at(pelvis, lean, 0, 0.25 - 0.17 * length, -0.062)
        yield Solid(
            at(0.11, -0.012),
            at(0.03, -0.022),
            broad(0.05, 0.057, 0.058),
            hair,
            flat=0.85,
            turn=stance.head_turn,
        )
        yield Solid(at(0.03, -0.03), end, broad(0.056, 0.06, 0.058, 0.04), hair, flat=0.45)
    elif outfit.hair_kind == "tied":
        end = at(0.02 - 0.12 * length, -0.085)
        yield Solid(at(0.1, -0.062), end, broad(0.016, 0.021, 0.013), hair)
    elif outfit.hair_kind == "bun":
        yield Solid(
            at(0.13 + 0.03 * length, -0.05), at(0.12 + 0.03 * length, -0.06), broad(0.026, 0.026), hair
        )
    if outfit.hat == "cap":
        yield Solid(at(0.118, 0.045), at(0.108, 0.1), broad(0.04, 0.03), ROWS["hat"], flat=0.3)
    elif outfit.hat == "brim":
        yield Solid(at(0.122, 0.0), at(0.108, 0.0), broad(0.075, 0.085), ROWS["hat"], round=0.1)


def _bags(outfit: Outfit, arms: list[_Chain], pelvis: Point, lean: float) -> Iterator[Solid]:
    size = 0.8 + 0.4 * outfit.bag_size
    if outfit.bag in ("backpack", "one_strap"):
        aside = 0.05 * (outfit.bag == "one_strap")
        top, end = 0.305, 0.305 - 0.235 * size
        knots = [w * size for w in (0.062, 0.084, 0.088, 0.09, 0.09, 0.086)]
        yield Solid(
            _at(pelvis, lean, aside, top, -0.105),
            _at(pelvis, lean, aside, end, -0.118),
            knots,
            ROWS["bag"],
            flat=0.62,
            round=0.18,
        )
    elif outfit.bag in ("shoulder", "cross"):
        side = 1 if outfit.bag == "shoulder" or outfit.seed % 2 else -1
        back = -0.05 if outfit.seed % 3 else 0.04
        up = 0.1 if outfit.bag == "shoulder" else 0.04
        yield Solid(
            _at(pelvis, lean, side * 0.135, up, back),
            _at(pelvis, lean, side * 0.14, up - 0.125 * size, back),
            [w * size for w in (0.036, 0.042, 0.042, 0.04)],
            ROWS["bag"],
            flat=2.0,
            round=0.1,
        )
    elif outfit.bag in ("hand", "sack"):
        hand = arms[1][2]
        tall = 0.13 if outfit.bag == "hand" else 0.2
        yield Solid(
            (hand[0], hand[1] - 0.055, hand[2]),
            (hand[0], hand[1] - 0.055 - tall * size, hand[2]),
            [w * size for w in (0.03, 0.04, 0.042, 0.04)],
            ROWS["bag"] if outfit.bag == "sack" else ROWS["hand_bag"],
            flat=2.0,
            round=0.1,
        )
