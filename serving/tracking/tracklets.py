"""From detections of single frames to tracklets: one person followed through consecutive frames of one
camera.

Association is the library ``trackers`` (BoT-SORT: Aharon et al. 2022, ByteTrack: Zhang et al. 2022, OC-SORT:
Cao et al. 2023). This module adds what a recogniser needs of it: complete tracklets with their best crops,
handed on as soon as they end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv

from reid.errors import UsageError
from serving.spec import CropSpec, TrackerSpec
from serving.tracking.crops import Crop, CropKeeper, crop_quality
from serving.tracking.foresight import as_expected, expected
from serving.video import Frame

__all__ = ["SPARSE_S", "TRACKERS", "Tracklet", "TrackletBuilder", "bridged_s", "is_somebody", "least_frames"]

_MIN_FRAGMENT = 3  # frames; less is a false detection
# Further apart, somebody who walks is beside his last place and not on it: each box that no track takes
# stands for itself, and the boxes of a person are joined by appearance and motion
# (serving.job.sightings.linking).
SPARSE_S = 0.3
_BRIDGED = 2.5  # frames; a track that is not found in one of them lives on, however far apart they are
_SINGLES = 1_000_000_000  # ids of boxes that no track took count from here
_LEAST_STEP_S = 1e-3  # two frames of one time are one behind the other
_USUAL_HZ = 10.0  # from which on a sighting needs min_frames
_MIN_IOU, _MIN_IOU_DOUBTFUL = 0.3, 0.5  # of a box with a track's place: times its confidence, and at most
_SAFE = 1.2
_LIBRARY_HZ = 30.0  # the library counts its lost-track buffer in frames of a 30 Hz camera


@dataclass(frozen=True)
class Tracklet:
    """A finished tracklet of N boxes: ``frames (N,)`` int64, ``times_s (N,)``, ``boxes (N, 4)`` xyxy,
    ``confidence (N,)``, best crops. ``stands_for (N,)`` int64: how many frames each box is for, itself and
    those before it that were passed over.
    """

    id: int
    frames: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    crops: tuple[Crop, ...]
    stands_for: npt.NDArray[np.int64]


@dataclass
class _Open:
    keeper: CropKeeper
    frames: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    boxes: list[npt.NDArray[np.float32]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    stands_for: list[int] = field(default_factory=list)


class TrackletBuilder:
    """Follows people through the frames of one camera.

    Args:
        spec: the tracker and its decisions.
        crops: how many crops are kept, and how large.
        fps: frames a second that :meth:`update` will see.

    Raises:
        UsageError: the tracker's name is unknown.
    """

    def __init__(self, spec: TrackerSpec, crops: CropSpec, fps: float) -> None:
        if spec.name not in TRACKERS:
            raise UsageError(f"tracker.name is {spec.name!r}: want one of {', '.join(sorted(TRACKERS))}")
        self._tracker = TRACKERS[spec.name](spec, fps)
        self._spec, self._crops = spec, crops
        self._gap_s = bridged_s(spec.max_gap_s, fps)
        self._sparse = 1.0 / fps > SPARSE_S
        self._open: dict[int, _Open] = {}
        self._last = sv.Detections.empty()  # of the frame before, with the tracks' ids
        self._loose: _Loose | None = None
        self._singles = _SINGLES
        self._now_s = -np.inf
        self._looked_s = -np.inf  # when the last update was
        self._passed = 0  # frames since then that were passed over

    @property
    def activation(self) -> float:
        """The confidence that starts a tracklet."""
        return self._spec.activation

    def update(self, frame: Frame, detections: sv.Detections) -> list[Tracklet]:
        """Take the detections of the next frame; return the tracklets that ended before it."""
        tracked = self._last = self._track(detections, frame.time_s)
        before_s, self._looked_s = self._looked_s, frame.time_s
        stands_for, self._passed = 1 + self._passed, 0
        known = np.flatnonzero(tracked.tracker_id >= 0)
        quality = crop_quality(frame.image, tracked.xyxy)
        for i in known:
            key = int(tracked.tracker_id[i])
            if key not in self._open:
                self._open[key] = _Open(CropKeeper(self._crops.per_tracklet, self._crops.max_height))
                self._begin_earlier(self._open[key], tracked.xyxy[i])
            one = self._open[key]
            row = frame.number, frame.time_s, tracked.xyxy[i], float(tracked.confidence[i])
            self._append(one, *row, stands_for if one.times_s and one.times_s[-1] == before_s else 1)
            one.keeper.offer(frame.number, float(quality[i]), tracked.xyxy[i], frame.image)
        singles = self._singles_left()
        self._loose = self._let_loose(frame, tracked, quality)
        return singles + self._ended(frame.time_s)

    def pass_over(self) -> list[Tracklet]:
        """Take the next frame as one between two looks, at the second of which everybody is as foretold. No
        tracklet ends in it.
        """
        self._passed += 1
        return []

    def foretold(self, min_iou: float, time_s: float, detections: sv.Detections) -> bool:
        """Whether a later frame's detections are of those who were in the last one, each where she had to
        be by then; see :mod:`serving.tracking.foresight`.
        """
        followed = [one for one in self._open.values() if one.times_s[-1] == self._looked_s]
        places = [expected(one.times_s, one.boxes, time_s) for one in followed]
        confidence = detections.confidence if len(detections) else np.zeros(0, np.float32)
        # The trackers want a higher overlap of a doubtful box, with a place that differs a little from ours;
        # what they would lose is not as foretold.
        own = _or(self._spec.min_iou, _MIN_IOU) / np.maximum(confidence, 1e-6).astype(np.float64)
        needed = np.maximum(min_iou, _SAFE * np.minimum(own, _MIN_IOU_DOUBTFUL))
        return as_expected(places, detections.xyxy, confidence >= self._spec.activation, needed)

    @property
    def tracked(self) -> npt.NDArray[np.float32]:
        """The boxes (N, 4) xyxy of the last frame that belong to a tracklet."""
        if not len(self._last):
            return np.zeros((0, 4), np.float32)
        return np.asarray(self._last.xyxy[self._last.tracker_id >= 0], np.float32)

    def repeat(self, number: int, time_s: float) -> list[Tracklet]:
        """Take the next frame as one in which nothing has moved: who was tracked stands where she stood.

        No crop is kept of it, for nobody has seen its picture. Returns the tracklets that ended before it.
        """
        self._loose = None
        if not self._open:
            return []
        self._looked_s, self._passed = time_s, 0
        here = self._last[self._last.tracker_id >= 0] if len(self._last) else self._last
        tracked = self._last = self._track(here, time_s)
        for i in np.flatnonzero(tracked.tracker_id >= 0):
            if (one := self._open.get(int(tracked.tracker_id[i]))) is not None:
                self._append(one, number, time_s, tracked.xyxy[i], float(tracked.confidence[i]))
        return self._ended(time_s)

    def _ended(self, now_s: float) -> list[Tracklet]:
        ended = [key for key, one in self._open.items() if now_s - one.times_s[-1] > self._gap_s + 1.0]
        return [done for key in ended if (done := self._close(key)) is not None]

    def finish(self) -> list[Tracklet]:
        """The tracklets that were still open."""
        return self._singles_left() + [
            done for key in list(self._open) if (done := self._close(key)) is not None
        ]

    def _let_loose(self, frame: Frame, tracked: sv.Detections, quality: npt.NDArray[np.float64]) -> "_Loose":
        """What no track took; where frames are far apart, with crops."""
        rows = np.flatnonzero(tracked.tracker_id < 0)
        alone: dict[int, _Open] = {}
        for place, i in enumerate(rows):
            if self._sparse and tracked.confidence[i] >= self._spec.activation:
                one = alone[place] = _Open(CropKeeper(self._crops.per_tracklet, self._crops.max_height))
                self._append(one, frame.number, frame.time_s, tracked.xyxy[i], float(tracked.confidence[i]))
                one.keeper.offer(frame.number, float(quality[i]), tracked.xyxy[i], frame.image)
        return _Loose(frame.time_s, frame.number, tracked[rows], alone)

    def _singles_left(self) -> list[Tracklet]:
        """The boxes of the frame before that no track has taken since, each as a tracklet."""
        found = []
        for one in self._loose.alone.values() if self._loose is not None else ():
            found.append(_tracklet(self._singles, one))
            self._singles += 1
        self._loose = None
        return found

    def _track(self, detections: sv.Detections, time_s: float) -> sv.Detections:
        if detections.confidence is None:
            detections.confidence = np.ones(len(detections), np.float32)
        self._now_s = max(time_s, self._now_s + _LEAST_STEP_S)
        tracked = self._tracker.update(detections, timestamp=self._now_s)
        if tracked.tracker_id is None or not len(tracked):
            tracked = sv.Detections.empty()
            tracked.tracker_id, tracked.confidence = np.zeros(0, int), np.zeros(0, np.float32)
        return tracked

    def _begin_earlier(self, one: _Open, box: npt.NDArray[np.float32]) -> None:
        # A tracker names a person in the second frame it sees; the box of the first belongs to the tracklet
        # too.
        if self._loose is None or not len(self._loose.boxes):
            return
        loose = self._loose.boxes
        overlap = sv.box_iou_batch(box[None], loose.xyxy)[0]
        best = int(overlap.argmax())
        if overlap[best] >= 0.3:
            self._append(
                one, self._loose.number, self._loose.time_s, loose.xyxy[best], float(loose.confidence[best])
            )
            self._loose.alone.pop(best, None)

    @staticmethod
    def _append(
        one: _Open,
        number: int,
        time_s: float,
        box: npt.NDArray[np.float32],
        confidence: float,
        stands_for: int = 1,
    ) -> None:
        one.frames.append(number)
        one.times_s.append(time_s)
        one.boxes.append(box)
        one.confidence.append(confidence)
        one.stands_for.append(stands_for)

    def _close(self, key: int) -> Tracklet | None:
        one = self._open.pop(key)
        return _tracklet(key, one) if self._sparse or sum(one.stands_for) >= _MIN_FRAGMENT else None


@dataclass
class _Loose:
    """Boxes of a frame that no track took; ``alone`` are those that may stand for themselves, by their place
    among the boxes.
    """

    time_s: float
    number: int
    boxes: sv.Detections
    alone: dict[int, _Open]


def _tracklet(key: int, one: _Open) -> Tracklet:
    return Tracklet(
        key,
        np.asarray(one.frames, np.int64),
        np.asarray(one.times_s, np.float64),
        np.asarray(one.boxes, np.float32),
        np.asarray(one.confidence, np.float32),
        tuple(one.keeper.crops()),
        np.asarray(one.stands_for, np.int64),
    )


def bridged_s(gap_s: float, fps: float) -> float:
    """A longest gap in seconds, at least as long as one frame that is missed at ``fps``."""
    return max(gap_s, _BRIDGED / fps)


def least_frames(min_frames: int, fps: float) -> int:
    """How many frames a sighting needs at ``fps``: as many as are asked for, fewer where half a second holds
    fewer, but two.
    """
    return min(min_frames, max(2, round(min_frames * fps / _USUAL_HZ)))


def is_somebody(frames: int, sure: int, least: int) -> bool:
    """Whether a tracklet of so many frames is a person: of ``least`` frames or more, and in half of them as
    sure as it takes to start one. The others are things that look a little like a person for a long time.
    """
    return frames >= least and 2 * sure >= frames


def _common(spec: TrackerSpec, fps: float) -> dict[str, Any]:
    return {
        "frame_rate": fps,
        "lost_track_buffer": max(1, round(bridged_s(spec.max_gap_s, fps) * _LIBRARY_HZ)),
        "minimum_consecutive_frames": 2,
    }


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _bytetrack(spec: TrackerSpec, fps: float) -> Any:
    from trackers import ByteTrackTracker

    return ByteTrackTracker(
        **_common(spec, fps),
        track_activation_threshold=spec.activation,
        high_conf_det_threshold=spec.high_confidence,
        minimum_iou_threshold=_or(spec.min_iou, _MIN_IOU),
    )


def _ocsort(spec: TrackerSpec, fps: float) -> Any:
    from trackers import OCSORTTracker

    return OCSORTTracker(
        **_common(spec, fps),
        high_conf_det_threshold=spec.high_confidence,
        minimum_iou_threshold=_or(spec.min_iou, _MIN_IOU),
    )


def _sort(spec: TrackerSpec, fps: float) -> Any:
    from trackers import SORTTracker

    return SORTTracker(
        **_common(spec, fps),
        track_activation_threshold=spec.activation,
        minimum_iou_threshold=_or(spec.min_iou, _MIN_IOU),
    )


def _botsort(spec: TrackerSpec, fps: float) -> Any:
    from trackers import BoTSORTTracker

    return BoTSORTTracker(
        **_common(spec, fps),
        track_activation_threshold=spec.activation,
        high_conf_det_threshold=spec.high_confidence,
        minimum_iou_threshold_first_assoc=_or(spec.min_iou, _MIN_IOU),
        enable_cmc=False,  # cameras are fixed
    )


TRACKERS: dict[str, Callable[[TrackerSpec, float], Any]] = {
    "bytetrack": _bytetrack,
    "ocsort": _ocsort,
    "sort": _sort,
    "botsort": _botsort,
}
