"""Where somebody who is followed will be some tenths of a second later, and whether she is there."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.overlap import box_iou

__all__ = ["as_expected", "expected"]

_SPEED_S = 0.5  # in which the speed is measured: longer than a step of a walker, in which boxes sway
_OTHER = 0.3  # IoU with another's place, from which on two people may be taken for each other

Box = npt.NDArray[np.float32]


def expected(times_s: Sequence[float], boxes: Sequence[Box], time_s: float) -> npt.NDArray[np.float64] | None:
    """The place (4,) xyxy at a time of somebody whose boxes (4,) were seen at ``times_s``, if she goes on as
    in the last half second; None where that is not known yet.
    """
    first = len(times_s) - 1
    while first > 0 and times_s[-1] - times_s[first - 1] <= _SPEED_S + 1e-6:
        first -= 1
    passed = times_s[-1] - times_s[first]
    if passed <= 0:
        return None
    last = boxes[-1].astype(np.float64)
    return last + (last - boxes[first]) * ((time_s - times_s[-1]) / passed)


def as_expected(
    places: Sequence[npt.NDArray[np.float64] | None],
    found: npt.NDArray[np.float32],
    sure: npt.NDArray[np.bool_],
    needed: npt.NDArray[np.float64],
) -> bool:
    """Whether people are where they were expected, and nobody else is there.

    Args:
        places: of M people (4,) xyxy; None where a place is not known, which is no place to be found at.
        found: (N, 4) boxes; each person needs one of her own, which is not near another's place.
        sure: (N,) of which boxes the detector is sure; such a box where nobody was expected is somebody else.
        needed: (N,) IoU of each box with a place, to be that person's.
    """
    known = [one for one in places if one is not None]
    if len(known) < len(places):
        return False
    if not known or not len(found):
        return not known and not sure.any()
    overlaps = box_iou(np.asarray(known), found.astype(np.float64))
    best = overlaps.argmax(axis=1)
    rows = np.arange(len(known))
    alone = overlaps[:, best] < _OTHER
    alone[rows, rows] = True
    # A second box of somebody who is there is nobody new.
    taken = overlaps.max(axis=0) >= _OTHER
    return bool(
        (overlaps[rows, best] >= needed[best]).all()
        and len(set(best.tolist())) == len(known)
        and alone.all()
        and taken[sure].all()
    )
