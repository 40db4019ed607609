"""Children and old people: what years make of a body, its hair and what is worn and carried."""

from dataclasses import replace

import numpy as np

from reid.data.synthetic.seeds import generator
from reid.data.synthetic.wardrobe.outfits import HAIRS, Age, Outfit, draw_outfit, near
from reid.data.synthetic.wardrobe.spec import WardrobeSpec

__all__ = ["draw_person"]

_CHILDREN, _OLD = 0.16, 0.20  # of the people, at most
_YEARS = (2.0, 4.0, 6.0, 8.0, 10.0, 13.0)
# Medians of the CDC's growth charts (2000), boys and girls together, metres; and legs against a grown-up's of
# the same height, by the share of the height at which small children sit.
_STATURE = (0.86, 1.02, 1.15, 1.28, 1.38, 1.56)
_LEGS = (0.83, 0.89, 0.94, 0.96, 0.98, 1.0)
# Heights that are so many heads, and those of the figure that grown-ups are drawn with.
_HEADS, _GROWN_UP_HEADS, _GROWN_UP_M = (5.0, 5.5, 6.0, 6.3, 6.6, 7.1), 7.3, 1.68


def draw_person(spec: WardrobeSpec, person: int) -> Outfit:
    """What this person looks like in all cameras: as `draw_outfit` says, but for the years of those who are a
    child or old.
    """
    outfit = draw_outfit(spec, person)
    rng = generator(spec.seed, "wardrobe age", person)
    chance = rng.random()
    if chance < _CHILDREN * spec.ages:
        return _child(outfit, rng)
    return _old(outfit, rng) if chance > 1 - _OLD * spec.ages else outfit


def _child(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    years = float(rng.uniform(_YEARS[0], _YEARS[-1]))
    stature, legs, heads = (float(np.interp(years, _YEARS, of)) for of in (_STATURE, _LEGS, _HEADS))
    stature *= float(np.exp(rng.normal(0, 0.04)))
    return replace(
        outfit,
        age=Age(head=_GROWN_UP_HEADS / heads, legs=legs, size=stature / _GROWN_UP_M, pace=1.1),
        stature=stature,
        build=float(np.clip(rng.normal(0.45, 0.15), 0, 1)),
        shoulders=float(np.clip(rng.normal(0.2, 0.1), 0, 1)),
        hips=0.35,
        hair=near(rng, HAIRS, (50, 26, 16, 12, 0), 0.15),
        hair_kind="short" if outfit.hair_kind == "bald" else outfit.hair_kind,
        glasses=bool(rng.random() < 0.08),
        hat="cap" if outfit.hat == "brim" else outfit.hat,
        closure="zip" if outfit.closure == "lapels" else outfit.closure,
        belt=None,
        bag="backpack" if outfit.bag != "none" and rng.random() < 0.6 else "none",
        bag_size=float(rng.uniform(0.2, 1.0)),
    )


def _old(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    grey = float(rng.uniform(0.45, 0.92))
    warm = float(rng.normal(0, 0.02))
    long = outfit.hair_kind in ("long", "tied")
    kind = "bald" if outfit.hair_kind == "short" and rng.random() < 0.3 else outfit.hair_kind
    young = outfit.lower_kind in ("shorts", "leggings", "slim") and rng.random() < 0.75
    return replace(
        outfit,
        age=Age(
            stoop=float(rng.uniform(0.04, 0.5)),
            pace=float(rng.uniform(0.4, 0.85)),
            stick=bool(outfit.bag not in ("hand", "sack") and rng.random() < 0.25),
        ),
        build=min(1.0, outfit.build + 0.12),
        hair=(grey + warm, grey, grey - warm) if rng.random() < 0.9 else outfit.hair,
        hair_kind=("bob", "bun")[int(rng.integers(2))] if long else kind,
        glasses=bool(rng.random() < 0.6),
        front_print="none" if rng.random() < 0.7 else outfit.front_print,
        back_print="none" if rng.random() < 0.7 else outfit.back_print,
        lower_kind="trousers" if young else outfit.lower_kind,
    )
