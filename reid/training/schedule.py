"""How the learning rate and Adam's momentum go over a training."""

import math
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["SCHEDULES", "Rates", "cosine", "one_cycle"]

_BETA1 = 0.9


class Rates(NamedTuple):
    """``factor`` of ``train.learning_rate``, and Adam's first beta."""

    factor: float
    beta1: float


def cosine(progress: float, warmup: float) -> Rates:
    """Linear warm-up from 0.01 over the share ``warmup`` of the training, then half a cosine down to 0.01."""
    if progress < warmup:
        return Rates(0.01 + 0.99 * progress / warmup, _BETA1)
    return Rates(_swing(1.0, 0.01, (progress - warmup) / max(1e-9, 1 - warmup)), _BETA1)


def one_cycle(progress: float, warmup: float) -> Rates:
    """One cycle (Smith 2018): half a cosine from 1/25 up to 1 over the share ``warmup``, half a cosine down
    to 1/250,000.

    The momentum goes the other way, 0.95 to 0.85 and back.
    """
    if progress < warmup:
        share = progress / warmup
        return Rates(_swing(1 / 25, 1.0, share), _swing(0.95, 0.85, share))
    share = (progress - warmup) / max(1e-9, 1 - warmup)
    return Rates(_swing(1.0, 1 / 250_000, share), _swing(0.85, 0.95, share))


def _swing(first: float, last: float, share: float) -> float:
    """Half a cosine from ``first`` at 0 to ``last`` at 1 and beyond."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


SCHEDULES: dict[str, Callable[[float, float], Rates]] = {"cosine": cosine, "one_cycle": one_cycle}
