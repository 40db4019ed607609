"""How people stand and walk."""

from dataclasses import dataclass
from math import pi

import numpy as np

from reid.data.synthetic.wardrobe.outfits import Outfit

__all__ = ["Stance", "draw_stance"]


@dataclass(frozen=True, slots=True)
class Stance:
    """How a person stands. Angles are radians.

    Attributes:
        phase, stride: of the gait, and how far the legs swing; 0 stands.
        lean: of the trunk, ahead.
        head_turn, head_tilt: against the trunk; to the left, ahead.
        arms: left and right: what each does, swing, pocket, ear, front or strap.
        bend: of the elbows, beyond what the arm does.
        spread: of the arms from the trunk.
        leg_spread: of the feet.
    """

    phase: float = 0.0
    stride: float = 0.0
    lean: float = 0.0
    head_turn: float = 0.0
    head_tilt: float = 0.0
    arms: tuple[str, str] = ("swing", "swing")
    bend: float = 0.1
    spread: float = 0.08
    leg_spread: float = 0.0


_ARMS = ("swing", "pocket", "ear", "front", "strap")
_ARM_SHARES = {"": (0.72, 0.09, 0.05, 0.12, 0.02), "strapped": (0.62, 0.08, 0.04, 0.11, 0.15)}


def draw_stance(rng: np.random.Generator, outfit: Outfit, share: float) -> Stance:
    """A stance by chance; ``share`` is how far from standing straight."""
    walks = rng.random() < 0.8
    shares = _ARM_SHARES["strapped" if outfit.bag in ("backpack", "one_strap", "shoulder") else ""]
    left, right = (_ARMS[int(place)] for place in rng.choice(len(_ARMS), 2, p=shares))
    if rng.random() < 0.07:
        left = right = "front"
    drawn = rng.normal(0, 1, 6)
    if rng.random() >= share:
        left = right = "swing"
    return Stance(
        phase=float(rng.uniform(0, 2 * pi)),
        stride=outfit.age.pace * share * float(rng.uniform(0.18, 0.48) if walks else rng.uniform(0, 0.08)),
        lean=share * float(0.03 + 0.05 * drawn[0]),
        head_turn=share * float(0.3 * drawn[1]),
        head_tilt=share * float(0.08 + 0.12 * abs(drawn[2])),
        arms=(left, right),
        bend=0.1 + share * float(abs(0.25 * drawn[3])),
        spread=0.06 + share * float(abs(0.08 * drawn[4])),
        leg_spread=share * float(abs(0.012 * drawn[5])),
    )
