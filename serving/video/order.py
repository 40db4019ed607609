"""Frames in order of display with their times, from what a container says about its packets. Pure arithmetic.

Packets come in order of decoding. Where pictures refer to later ones (B-frames) that is another order than
that of display.
"""

from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = [
    "GAP_S",
    "UNKNOWN",
    "Floats",
    "Ints",
    "continuous",
    "display_order",
    "frame_rate",
    "gaps_in",
    "in_words",
    "steady_times",
]

UNKNOWN = np.iinfo(np.int64).min  # a time that the container does not say
_RESTART_S = 0.25  # a decoding clock that falls back further than this was set anew
_REORDERED_S = 1.0  # likewise of a clock of showing, which goes back and forth
_WRAP = 2**33  # of the clocks of MPEG streams
_WRAP_GAP_S = 60.0  # a turn-over that lands further on than this was a clock set anew, too
_MOST_FPS = 480.0
GAP_S = 2.0  # from which a gap is spoken of
_GAP_FRAMES = 5  # and of slow footage from so many frames
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def continuous(pts: Ints, dts: Ints, time_base: Fraction) -> tuple[Ints, Ints]:
    """Times of packets in order of decoding, (N,) in units of ``time_base``, made one clock; and the part of
    the file of each, (N,).

    Where the clock of decoding falls back it was set anew, and a new part begins one frame after what came
    before; or it has turned over after 33 bits. Gaps forward are kept: a recorder that waits for something to
    move leaves them.

    ``pts``, ``dts`` (N,) int64, ``UNKNOWN`` where the container says none; of a packet that has but one, the
    other is taken for it.
    """
    decoding = bool((dts != UNKNOWN).any())
    clock = _held(dts if decoding else pts)
    least = max(1, round(_RESTART_S / time_base))
    if not decoding:
        # Times of showing go back and forth by the frames that a decoder reorders, sixteen at most.
        least = max(1, round(_REORDERED_S / time_base), 32 * _period(pts[pts != UNKNOWN]))
    shown = np.where(pts == UNKNOWN, clock, pts)
    # Beside the turn of the clock the time of showing may have turned already, or not yet.
    ahead = shown - clock
    shown = np.where(ahead < -_WRAP // 2, shown + _WRAP, np.where(ahead > _WRAP // 2, shown - _WRAP, shown))
    raw, part, offset = shown.copy(), np.zeros(len(shown), np.int64), 0
    back = (np.flatnonzero(np.diff(clock) < -least) + 1).tolist()
    for start, end in zip(back, [*back[1:], len(shown)], strict=False):
        turned = (int(clock[start]) + _WRAP - int(clock[start - 1])) * time_base
        if 0 <= turned <= _WRAP_GAP_S:
            offset += _WRAP
        else:
            offset = int(shown[:start].max()) + _period(shown[:start]) - int(raw[start:end].min())
            part[start:] += 1
        shown[start:end] = raw[start:end] + offset
    return shown, part


def _held(clock: Ints) -> Ints:
    """Unknown times are those before them."""
    known = np.where(clock != UNKNOWN, np.arange(len(clock)), -1)
    held = np.maximum.accumulate(known) if len(clock) else known
    return np.where(held >= 0, clock[held], clock[known >= 0][0] if (known >= 0).any() else 0)


def _period(times: Ints) -> int:
    steps = np.diff(np.unique(times[-64:]))
    return int(np.median(steps)) if len(steps) else 1


def display_order(times: Ints, part: Ints) -> Ints:
    """Which packet is shown first, second, ...: by time within each part of a file. (N,) indices."""
    return np.lexsort((np.arange(len(times)), times, part))


def steady_times(times: Ints, rate: float, time_base: Fraction) -> Floats:
    """Seconds (N,) of frames of whose packets, in order of decoding, only some times are known: the others
    lie evenly between.

    Sorted, so the k-th is that of the k-th frame shown, whatever the order of decoding.
    """
    index, known = np.arange(len(times)), times != UNKNOWN
    twice = times[1:] == times[:-1]
    known[1:] &= ~twice  # a time said of two frames is wrong of one of them
    known[:-1] &= ~twice
    if known.sum() < 2:
        return np.asarray(index / rate)
    at = index[known]
    seconds = times[known] * float(time_base)
    rate = (at[-1] - at[0]) / max(seconds[-1] - seconds[0], 1e-9)
    filled = np.interp(index, at, seconds)
    filled[: at[0]] = seconds[0] - (at[0] - index[: at[0]]) / rate
    filled[at[-1] + 1 :] = seconds[-1] + (index[at[-1] + 1 :] - at[-1]) / rate
    return np.sort(filled)


def frame_rate(times_s: Floats, stated: Sequence[Fraction | None]) -> float:
    """Frames a second: the first stated rate that the times bear out, else that of the times themselves.

    Headers invent rates: 1000 where times count milliseconds, 90000 of MPEG streams, twice the true one of
    interlaced pictures. Pauses do not count: the rate is that of most steps from frame to frame.
    """
    likely = [float(rate) for rate in stated if rate is not None and 0 < rate <= _MOST_FPS]
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    if not len(steps):
        return likely[0] if likely else 25.0
    usual = float(np.median(steps))
    near = steps[(steps > 0.5 * usual) & (steps < 1.5 * usual)]
    measured = 1.0 / float(near.mean())
    return next((rate for rate in likely if abs(rate - measured) <= 0.05 * measured), measured)


def gaps_in(times_s: Floats) -> Floats:
    """How long it is from a frame to the next (G,), in seconds, where that is much longer than usual: nothing
    was recorded there, or it was lost on the way.
    """
    steps = np.diff(times_s)
    usual = float(np.median(steps)) if len(steps) else 0.0
    return np.asarray(steps[steps > max(GAP_S, _GAP_FRAMES * usual)])


def in_words(gaps_s: Sequence[float] | Floats) -> str:
    """``2 gaps, 0:01:30 in all``; '' of none."""
    if not len(gaps_s):
        return ""
    return f"{len(gaps_s)} gap{'s' * (len(gaps_s) > 1)}, {timedelta(seconds=round(sum(gaps_s)))} in all"
