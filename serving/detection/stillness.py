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

__all__ = ["Background", "Cells", "Change", "cell_mask", "cells_of", "grid_of"]

Cells = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_LEARN_S, _ABSORB_S = 10.0, 3.0  # time constants of what has not changed, and of what has
_CALIBRATE_S = 2.0  # in which noise is measured, and everything counts as changed
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
    per = np.array([grid[1] / size.width, grid[0] / size.height] * 2)
    low, high = np.floor(boxes * per).astype(int) - 1, np.ceil(boxes * per).astype(int) + 1
    for (x0, y0, _, _), (_, _, x1, y1) in zip(np.maximum(low, 0), high, strict=True):
        mask[y0:y1, x0:x1] = True
    return mask


@dataclass(frozen=True, slots=True)
class Change:
    """What a look found: whether anything has ``changed``, and whether most of the picture (``whole``)."""

    changed: bool
    whole: bool


class Background:
    """Brightness and restlessness of each cell of a fixed camera's picture.

    Noise is the footage's own: for each cell the mean absolute deviation from its mean, learned over some
    ten seconds, in which a single outlier counts as three deviations at most. So sensor noise at night,
    flicker of lamps and the pulse that a key frame gives the whole picture raise the threshold where they
    are, and somebody who walks by does not. The brightness of the picture as a whole is divided out before.
    A cell that has changed is learned faster, for a chair that was moved is not to be looked at for ever.

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
        self._frames, self._calibrated_s, self._last_s = 0, 0.0, 0.0

    def look(self, cells: Cells, time_s: float, people: Mask | None = None) -> Change:
        """Compare the next frame's cells with the background, and learn from them.

        ``people``: cells of which nothing is learned, for somebody is there who may stand still.
        """
        now = cells.astype(np.float32)
        if not self._frames:
            self._begin(now, time_s, None)
            return Change(True, False)
        sample = self._mean[::_SAMPLE, ::_SAMPLE]
        light = float(np.median(now[::_SAMPLE, ::_SAMPLE] / np.maximum(sample, 8.0)))
        strays = cv2.absdiff(now, self._mean * np.float32(light))
        over = strays > np.clip(_SIGMAS * self._deviation, _LEAST, _MOST)
        far = np.count_nonzero(strays > _FAR)
        whole = abs(light - 1) > _LIGHT or far > _WHOLE * over.size
        calibrating = time_s < self._calibrated_s
        if whole:
            self._begin(now, time_s, people)
            return Change(True, True)
        self._learn(now, strays, over, time_s, people)
        if self._elsewhere is not None:
            over[self._elsewhere] = False
        return Change(calibrating or _clustered(over), False)

    def _begin(self, now: npt.NDArray[np.float32], time_s: float, people: Mask | None) -> None:
        self._mean = now.copy() if people is None else np.where(people, self._mean, now)
        self._frames, self._last_s, self._calibrated_s = 1, time_s, time_s + _CALIBRATE_S

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
        # The mean of all frames at first, then one that forgets.
        slow = np.float32(max(passed / _LEARN_S, 1 / self._frames))
        rate = np.where(over, max(np.float32(passed / _ABSORB_S), slow), slow)
        if people is not None:
            rate[people] = 0
        self._mean += rate * (now - self._mean)
        inliers = np.minimum(strays, _OUTLIER * np.maximum(self._deviation, 0.5))
        if people is not None:
            inliers[people] = self._deviation[people]
        self._deviation += slow * (inliers - self._deviation)


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
