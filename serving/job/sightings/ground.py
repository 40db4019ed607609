"""Where on the ground somebody was: foot points of a sighting, in metres, on the clock that cameras share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from serving.job.layout import WorkFolder
from serving.job.segments.camera import CameraState
from serving.job.sightings.sightings import Sighting

__all__ = [
    "STEP_S",
    "Meeting",
    "Passage",
    "Track",
    "meeting_of",
    "on_ground",
    "passage_of",
    "track_of",
    "tracks_of",
]

STEP_S = 0.5  # between two places of a track
_LONGEST_HOLE_S = 2.0  # between two of its places somebody is taken to have walked straight
_MOST_PLACES = 512
_FOOT = 0.05  # of a box's height: how far its lower edge is from the feet
_END = 5  # steps that show where somebody goes to or comes from
_FLOOR_M = 0.3  # how far off a floor is that somebody measured

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Track:
    """Where a sighting was at T moments.

    ``step (T,)`` counts steps of :data:`STEP_S` on the common clock, rising; ``xy (T, 2)`` metres; ``error
    (T,)`` metres, the standard deviation of a coordinate.
    """

    step: Ints
    xy: Floats
    error: Floats


def on_ground(floor: Floats, feet: Floats, below: Floats) -> tuple[Floats, Floats]:
    """Points of the picture on the ground.

    Args:
        floor: the homography (3, 3) from pixels to metres.
        feet: (N, 2) pixels.
        below: (2,) pixels, a point of the picture that certainly is ground: beyond the horizon is nothing.

    Returns:
        (N, 2) metres, NaN for points above the horizon; and (N,) by how many metres a pixel moves them at
        most.
    """
    placed = np.column_stack([feet, np.ones(len(feet))]) @ floor.T
    depth = placed[:, 2] * np.sign(float(floor[2] @ [*below, 1.0]) or 1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        xy = placed[:, :2] / placed[:, 2:]
        # d(X / W) = (dX - (X / W) dW) / W, for a pixel to the right and one down
        moved = (floor[None, :2, :2] - xy[:, :, None] * floor[None, 2:, :2]) / placed[:, 2, None, None]
        per_pixel = np.linalg.norm(moved, axis=(1, 2))
    seen = (depth > 0) & np.isfinite(xy).all(axis=1) & np.isfinite(per_pixel)
    xy[~seen], per_pixel[~seen] = np.nan, np.nan
    return xy, per_pixel


def track_of(times_s: Floats, xywh: Floats, floor: Floats, size: tuple[int, int]) -> Track | None:
    """The track of boxes (N, 4) at times (N,), in seconds of the common clock, in a picture of (width,
    height); None where no box stands on the ground.

    A box that the picture's lower edge cuts does not show where its feet are, and is left out.
    """
    feet = np.column_stack([xywh[:, 0] + xywh[:, 2] / 2, xywh[:, 1] + xywh[:, 3]])
    xy, per_pixel = on_ground(floor, feet, np.array([size[0] / 2, size[1]], np.float64))
    good = np.isfinite(per_pixel) & (feet[:, 1] < size[1] - 1)
    if not good.any():
        return None
    # The mean of what is seen within a step, then the straight line to the middle of each: two cameras take
    # their pictures at different moments.
    step, which = np.unique(np.floor(times_s[good] / STEP_S).astype(np.int64), return_inverse=True)
    count = np.bincount(which)
    columns = np.column_stack([times_s[good], xy[good], _FOOT * xywh[good, 3] * per_pixel[good]])
    times, x, y, error = (np.bincount(which, column) / count for column in columns.T)
    if len(step) > _MOST_PLACES:  # of long ones every 2nd, 4th, ... step, which all have in common
        stride = 1 << int(np.ceil(np.log2(len(step) / _MOST_PLACES)))
        kept = step % stride == 0
        step, times, x, y, error = step[kept], times[kept], x[kept], y[kept], error[kept]
    middle = np.clip((step + 0.5) * STEP_S, times[0], times[-1]) if len(step) else np.zeros(0)
    after = np.clip(np.searchsorted(times, middle), 1, max(len(times) - 1, 1))
    straight = len(times) > 1 and np.diff(times)[after - 1] <= _LONGEST_HOLE_S
    x, y = (np.where(straight, np.interp(middle, times, column), column) for column in (x, y))
    return Track(step, np.column_stack([x, y]), np.hypot(error, _FLOOR_M)) if len(step) else None


def tracks_of(run: CameraState, sightings: Sequence[Sighting], work: WorkFolder) -> list[Track | None]:
    """The track of each sighting of a camera; None for all where it has no floor or no clock."""
    floor, start = run.camera.floor, run.camera.start_time
    if floor is None or start is None or run.footage is None:
        return [None] * len(sightings)
    number = {(one.segment, one.raw): at for at, single in enumerate(sightings) for one in single.members}
    parts: list[list[Floats]] = [[] for _ in sightings]
    for segment in run.segments:
        table = pq.read_table(
            work.segment(segment.name).boxes,
            columns=["raw", "time_s", *"xywh"],
            filters=[("frame", ">=", segment.first)],
        )
        whose = np.asarray([number.get((segment.index, raw), -1) for raw in table["raw"].to_pylist()], int)
        rows = np.column_stack([table[name].to_numpy() for name in ("time_s", *"xywh")]).astype(np.float64)
        order = np.argsort(whose, kind="stable")
        for at, mine in zip(*_split(whose[order], rows[order]), strict=True):
            if at >= 0:
                parts[at].append(mine)
    began = start.astimezone().timestamp()
    size = run.footage.width, run.footage.height
    found: list[Track | None] = []
    for part in parts:
        rows = np.concatenate(part) if part else np.zeros((0, 5))
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        found.append(track_of(began + rows[:, 0], rows[:, 1:], np.asarray(floor), size))
    return found


def _split(keys: Ints, rows: Floats) -> tuple[list[int], list[Floats]]:
    """Rows by their key (N,), which is sorted."""
    if not len(keys):
        return [], []
    edges = np.flatnonzero(np.diff(keys)) + 1
    return keys[np.concatenate([[0], edges])].tolist(), np.split(rows, edges)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two tracks while both are there, in metres: how far apart, the standard deviation of that, and how far
    the way from the one to the other changes from the first third of the time to the last, which lie
    ``seconds`` apart.
    """

    apart: float
    error: float
    drift: float
    seconds: float


def meeting_of(one: Track, other: Track) -> Meeting | None:
    """How two tracks meet; None where they are never there together. By medians, so that a few bad boxes
    count for nothing.
    """
    step, i, j = np.intersect1d(one.step, other.step, assume_unique=True, return_indices=True)
    if not len(step):
        return None
    way = one.xy[i] - other.xy[j]
    third = max(len(step) // 3, 1)
    change = np.median(way[-third:], axis=0) - np.median(way[:third], axis=0)
    return Meeting(
        float(np.median(np.linalg.norm(way, axis=1))),
        float(np.median(np.hypot(one.error[i], other.error[j]))),
        float(np.linalg.norm(change)),
        float(np.median(step[-third:]) - np.median(step[:third])) * STEP_S,
    )


@dataclass(frozen=True, slots=True)
class Passage:
    """From the end of the earlier of two tracks to the beginning of the later one.

    ``metres`` between the two places, ``error`` its standard deviation, ``seconds`` between them; ``missed``:
    metres from where somebody would be who walks on as before, predicted from both ends.
    """

    metres: float
    error: float
    seconds: float
    missed: float


def passage_of(one: Track, other: Track) -> Passage:
    """The way between two tracks that are never there together."""
    first, second = (one, other) if one.step[0] <= other.step[0] else (other, one)
    seconds = max(float(second.step[0] - first.step[-1]) * STEP_S, 0.0)
    left, walked, error = _end(first, slice(None, None, -1))
    came, comes, other_error = _end(second, slice(None))
    way = came - left
    missed = [float(np.linalg.norm(way - speed * seconds)) for speed in (walked, comes)]
    return Passage(float(np.linalg.norm(way)), float(np.hypot(error, other_error)), seconds, sum(missed) / 2)


def _end(track: Track, order: slice) -> tuple[Floats, Floats, float]:
    """Place, velocity in metres a second, and error at one end of a track: its first steps in an order."""
    step, xy = track.step[order][:_END], track.xy[order][:_END]
    seconds = (step - step[0]) * STEP_S
    spread = seconds - seconds.mean()
    # A straight line through the steps; of one step alone nobody knows the speed.
    speed = spread @ xy / max(float(spread @ spread), 1e-9) if len(step) > 1 else np.zeros(2)
    return xy.mean(axis=0) - speed * seconds.mean(), speed, float(np.median(track.error[order][:_END]))
