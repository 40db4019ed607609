"""Whether anything has changed in a fixed camera's picture: a look that costs a hundredth of a detector's.

The luma of a frame, as the decoder gives it and before any conversion of colours, is averaged over *cells*
of some pixels each. A background learns slowly how bright each cell is and how far it strays from that by
itself; a cell has changed when it strays clearly further.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import av
import cv2
import numpy as np
import numpy.typing as npt

from serving.video import Size, orientation

__all__ = ["UNCHANGED", "Background", "Cells", "Change", "cell_mask", "cells_of", "grid_of"]

Cells = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_LEARN_S, _ABSORB_S = 10.0, 3.0  # time constants of what has not changed, and of what has
# A cell that has changed teaches nothing for so long: who walks by leaves no trace behind her that would pass
# for somebody, and who stands still is tracked by then.
_PASSING_S = 2.0
_SIGMAS = 6.0  # mean absolute deviations; 4.8 standard deviations of Gaussian noise
# Grey levels of a cell's mean. The lower is what rounding and encoders do to a still picture; above the upper
# nothing is taken for noise, however restless a tree or a screen is there.
_LEAST, _MOST = 2.5, 12.0
_FAR = 6.0  # of a cell, where most of the picture changes at once; flicker of lamps is less
_OUTLIER = 3.0  # deviations; what is further counts as so far when noise is learned
_LIGHT = 0.15  # of the brightness: a lamp was switched
_WHOLE = 0.3  # of the cells: the light has changed, or the camera has moved
_SAMPLE = 4  # every so many cells, both ways, tell the brightness of the whole
# 8-bit planar or half-planar formats, whose first plane is the luma
_LUMA_FIRST = {
    *("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "yuv411p", "yuv410p"),
    *("nv12", "nv21", "gray", "yuva420p"),
}


def grid_of(size: Size, min_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of cells for a picture: the smallest box (width, height) that counts as a person is
    three cells high and one wide, so that somebody so small still fills several.
    """
    side = min(max(min(min_size[0], min_size[1] / 3), 4.0), 16.0)
    return max(1, round(size.height / side)), max(1, round(size.width / side))


def cells_of(frame: av.VideoFrame, grid: tuple[int, int]) -> Cells:
    """Mean luma of each cell, (rows, columns) uint8, of the picture as it is to be seen (upright)."""
    if frame.format.name in _LUMA_FIRST:
        plane = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width]
    else:
        luma = frame.to_ndarray(format="gray")
    turns, mirrored = orientation(frame)
    rows, columns = grid[::-1] if turns % 2 else grid
    # In halves: OpenCV averages two by two pixels in a fifth of the time of a whole cell at once.
    for times in (4, 2, 1):
        luma = cv2.resize(luma, (columns * times, rows * times), interpolation=cv2.INTER_AREA)
    if turns or mirrored:
        luma = np.rot90(luma[:, ::-1] if mirrored else luma, turns)
    return np.asarray(luma, np.uint8)


def cell_mask(boxes: npt.NDArray[np.float32], grid: tuple[int, int], size: Size) -> Mask:
    """The cells (rows, columns) that boxes (N, 4) xyxy of the upright picture touch, and their neighbours."""
    mask = np.zeros(grid, np.bool_)
    if not len(boxes):
        return mask
    per = np.array([grid[1] / size.width, grid[0] / size.height] * 2)
    low, high = np.floor(boxes * per).astype(int) - 1, np.ceil(boxes * per).astype(int) + 1
    for (x0, y0, _, _), (_, _, x1, y1) in zip(np.maximum(low, 0), high, strict=True):
        mask[y0:y1, x0:x1] = True
    return mask


@dataclass(frozen=True, slots=True)
class Change:
    """What a look found: whether anything has ``changed``, whether most of the picture (``whole``), and
    whether that was something else than the light (``moved``).
    """

    changed: bool
    whole: bool = False
    moved: bool = False


UNCHANGED = Change(False)


class Background:
    """Brightness and restlessness of each cell of a fixed camera's picture.

    Noise is the footage's own: for each cell the mean absolute deviation from its mean, learned over some
    ten seconds, in which a single outlier counts as three deviations at most. So sensor noise at night,
    flicker of lamps and the pulse that a key frame gives the whole picture raise the threshold where they
    are, and somebody who walks by does not. The brightness of the picture as a whole is divided out before.
    A cell that has changed for more than ``_PASSING_S`` is learned faster, for a chair that was moved is not
    to be looked at for ever. Before noise is known, the lowest threshold holds.

    Args:
        grid: rows and columns.
        size: of the upright picture.
        region: polygon in its pixels; changes count where somebody may be whose feet are inside: in it and
            above it. Empty: everywhere.
    """

    def __init__(self, grid: tuple[int, int], size: Size, region: Sequence[tuple[float, float]] = ()) -> None:
        self._elsewhere = None if not len(region) else ~_above(region, grid, size)
        self._mean = np.zeros(grid, np.float32)
        self._deviation = np.zeros(grid, np.float32)
        self._over_s = np.zeros(grid, np.float32)  # how long each cell has been changed
        self._frames, self._last_s = 0, 0.0

    def look(self, cells: Cells, time_s: float, people: Mask | None = None) -> Change:
        """Compare the next frame's cells with the background, and learn from them.

        ``people``: cells of which nothing is learned, for somebody is there who may stand still.
        """
        now = cells.astype(np.float32)
        if not self._frames:
            self._begin(now, time_s, None)
            return Change(True)
        light, strays, over = self._compared(now)
        if self._is_whole(light, strays):
            self._begin(now, time_s, people)
            return Change(True, True, moved=abs(light - 1) <= _LIGHT)
        self._learn(now, strays, over, time_s, people)
        return Change(self._tells(over))

    def differs(self, cells: Cells) -> bool:
        """Whether :meth:`look` would find a change; nothing is learned from it."""
        light, strays, over = self._compared(cells.astype(np.float32))
        return self._is_whole(light, strays) or self._tells(over)

    def _compared(self, now: npt.NDArray[np.float32]) -> tuple[float, npt.NDArray[np.float32], Mask]:
        """How bright the picture is against the background, how far each cell strays, and which have
        changed.
        """
        sample = self._mean[::_SAMPLE, ::_SAMPLE]
        light = _median(now[::_SAMPLE, ::_SAMPLE] / np.maximum(sample, 8.0))
        strays = cv2.absdiff(now, self._mean * np.float32(light))
        return light, strays, strays > np.clip(_SIGMAS * self._deviation, _LEAST, _MOST)

    @staticmethod
    def _is_whole(light: float, strays: npt.NDArray[np.float32]) -> bool:
        return bool(abs(light - 1) > _LIGHT or np.count_nonzero(strays > _FAR) > _WHOLE * strays.size)

    def _tells(self, over: Mask) -> bool:
        return _clustered(over if self._elsewhere is None else over & ~self._elsewhere)

    def _begin(self, now: npt.NDArray[np.float32], time_s: float, people: Mask | None) -> None:
        self._mean = now.copy() if people is None else np.where(people, self._mean, now)
        self._frames, self._last_s = 1, time_s
        self._over_s[:] = 0

    def _learn(
        self,
        now: npt.NDArray[np.float32],
        strays: npt.NDArray[np.float32],
        over: Mask,
        time_s: float,
        people: Mask | None,
    ) -> None:
        self._frames += 1
        passed, self._last_s = min(max(time_s - self._last_s, 0.0), 1.0), time_s
        self._over_s = np.maximum(self._over_s + np.where(over, passed, -passed).astype(np.float32), 0)
        # The mean of all frames at first, then one that forgets.
        slow = np.float32(max(passed / _LEARN_S, 1 / self._frames))
        quick = max(np.float32(passed / _ABSORB_S), slow)
        rate = np.where(over, np.where(self._over_s > _PASSING_S, quick, np.float32(0)), slow)
        if people is not None:
            rate[people] = 0
        self._mean += rate * (now - self._mean)
        inliers = np.minimum(strays, _OUTLIER * np.maximum(self._deviation, 0.5))
        if people is not None:
            inliers[people] = self._deviation[people]
        self._deviation += slow * (inliers - self._deviation)


def _median(values: npt.NDArray[np.floating]) -> float:
    """NumPy's, without its checks, which take four times as long for so few."""
    low, high = (values.size - 1) // 2, values.size // 2
    ordered = np.partition(values, (low, high), axis=None)
    return float((ordered[low] + ordered[high]) / 2)


def _clustered(over: Mask) -> bool:
    """Whether two neighbouring cells have changed: a single one is noise, and no person."""
    if not over.any():
        return False
    around = cv2.boxFilter(over.astype(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return bool((around[over] >= 2).any())


def _above(region: Sequence[tuple[float, float]], grid: tuple[int, int], size: Size) -> Mask:
    """Cells in a polygon or above a part of it: bodies whose feet are inside."""
    inside = np.zeros(grid, np.uint8)
    scale = np.array([grid[1] / size.width, grid[0] / size.height])
    cv2.fillPoly(inside, [np.round(np.asarray(region) * scale - 0.5).astype(np.int32)], 1)
    return np.maximum.accumulate(inside[::-1], axis=0)[::-1].astype(np.bool_)
