"""Where people are in a frame. One call for all detectors: ``detector.detect(frames) ->
list[sv.Detections]``.

``motion`` needs no weights: background subtraction for fixed cameras. ``mot`` reads a MOTChallenge detection
file made elsewhere. All others are networks in files; ``serving.detection.layouts`` has their layouts. Boxes
are ``xyxy`` in pixels of the frame, clipped to it; confidences are in 0..1.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
import supervision as sv

from reid.errors import UsageError
from reid.mot import read_mot
from serving.detection.geometry import inside, make_detections
from serving.detection.layouts import LAYOUTS, Answer
from serving.detection.model import DetectorModel, open_model
from serving.detection.motion import MotionDetector
from serving.detection.placing import Placed
from serving.spec import RECOGNISED, Camera, DetectorSpec
from serving.video import Frame

__all__ = [
    "Detector",
    "MotDetector",
    "MotionDetector",
    "NetworkDetector",
    "build_detector",
    "inside",
]

_CONFIDENCE = 0.1  # the trackers look at doubtful boxes too, for tracklets that they follow already


class Detector(Protocol):
    """``warm_up`` is how many frames a detector must have seen before its answers hold (0 when it has no
    memory).

    ``at_once`` calls of :meth:`detect` may run side by side, in threads; it is 1 for a detector with a
    memory.

    ``others`` tells in how many frames there were boxes of which other class, as long as nobody was found;
    None once somebody was, and of a detector without classes.
    """

    warm_up: int
    at_once: int

    @property
    def others(self) -> dict[str, int] | None:
        """Frames by class; see above."""

    def detect(self, frames: Sequence[Frame]) -> list[sv.Detections]:
        """Detections of each frame; frames come in order of time."""


def build_detector(spec: DetectorSpec, camera: Camera, threads: int | None = None) -> Detector:
    """Make the detector that a job names, for one camera.

    Raises:
        UsageError: the name is unknown, or a key that the detector needs is missing.
        ReidError: its model or file cannot be used.
    """
    if spec.name == "motion":
        return MotionDetector((spec.min_width, spec.min_height))
    if spec.name == "mot":
        return _mot(spec, camera)
    if spec.name not in (RECOGNISED, *LAYOUTS):
        names = ", ".join(sorted((*LAYOUTS, "mot", "motion")))
        raise UsageError(f"detector.name is {spec.name!r}: want a detector's file, or one of {names}")
    if spec.model is None:
        raise UsageError(f"detector.model is missing: the detector {spec.name!r} wants a file, ONNX or other")
    # Frames side by side with a thread each use the processors better than one frame with all of them, whose
    # threads wait for each other.
    layout = None if spec.name == RECOGNISED else spec.name
    model = open_model(spec.model, layout, spec.backend, spec.size, threads)
    return NetworkDetector(
        model,
        _CONFIDENCE if spec.confidence is None else spec.confidence,
        spec.nms_iou,
        (spec.min_width, spec.min_height),
        spec.person_class,
    )


class NetworkDetector:
    """People as a network finds them, whatever its layout.

    Args:
        model: the opened file.
        confidence: boxes of less are left out.
        nms_iou: of two boxes that overlap more, the less confident is dropped, where the file leaves that
            to others.
        min_size: least width and height of a box in pixels.
        person: the class that people are; None: that of the layout.

    Raises:
        UsageError: the file has no such class.
    """

    warm_up = 0

    def __init__(
        self,
        model: DetectorModel,
        confidence: float = 0.1,
        nms_iou: float = 0.6,
        min_size: tuple[int, int] = (8, 24),
        person: int | None = None,
    ) -> None:
        self.model, self.at_once = model, model.at_once
        self.confidence, self.nms_iou, self.min_size = confidence, nms_iou, min_size
        self.person = model.layout.person(model.classes) if person is None else person
        if model.classes is not None and self.person >= model.classes:
            raise UsageError(
                f"detector.person_class is {self.person}, but {model.path.name} has {model.classes} "
                f"classes, 0 to {model.classes - 1}"
            )
        self._lock, self._others, self._found = threading.Lock(), Counter[int](), False

    def detect(self, frames: Sequence[Frame]) -> list[sv.Detections]:
        """See ``Detector``."""
        found: list[sv.Detections] = []
        images = [frame.image for frame in frames]
        while len(found) < len(images):
            rest = images[len(found) : len(found) + self.model.batch]
            same = next(list(group) for _, group in groupby(rest, np.shape))
            found += [self._one(*answer) for answer in self.model.answers(same)]
        return found

    def __str__(self) -> str:
        return f"{self.model}, people are class {self.person}"

    @property
    def others(self) -> dict[str, int] | None:
        """See ``Detector``."""
        return None if self._found else {str(name): count for name, count in self._others.items()}

    def _one(self, answer: Answer, index: int, placed: Placed) -> sv.Detections:
        rows = self.model.layout.rows(answer, index)
        confidence = rows.confidence(self.person)
        keep = np.flatnonzero(confidence >= self.confidence)
        if len(keep):
            self._found = True
        elif not self._found:  # asked only as long as there is nobody: it takes a look at every class
            with self._lock:
                self._others.update(rows.others(self.person, self.confidence))
        boxes = placed.back(rows.corners(rows.boxes[keep], keep))
        height, width = placed.picture
        found = make_detections(boxes, confidence[keep], width, height, self.min_size)
        if self.model.layout.nms and len(found):
            return found.with_nms(threshold=self.nms_iou, class_agnostic=True)
        return found


class MotDetector:
    """Detections from a MOTChallenge file: ``frame, id, x, y, w, h, confidence, ...`` with frames counted
    from 1.
    """

    warm_up = 0
    at_once = 1
    others = None

    def __init__(
        self, path: Path | str, confidence: float = 0.0, min_size: tuple[int, int] = (8, 24)
    ) -> None:
        table = read_mot(path)
        keep = table.confidence >= confidence
        self._by_frame = table.select(keep).by_frame()
        self.min_size = min_size

    def detect(self, frames: Sequence[Frame]) -> list[sv.Detections]:
        """See ``Detector``."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Frame) -> sv.Detections:
        rows = self._by_frame.get(frame.number)
        if rows is None:
            return sv.Detections.empty()
        height, width = frame.image.shape[:2]
        return make_detections(rows.xyxy, np.clip(rows.confidence, 0, 1), width, height, self.min_size)


def _mot(spec: DetectorSpec, camera: Camera) -> Detector:
    if camera.detections is None:
        raise UsageError(
            f"camera {camera.id}: key 'detections' is missing: the detector 'mot' wants a MOTChallenge "
            "file for each camera"
        )
    return MotDetector(camera.detections, spec.confidence or 0.0, (spec.min_width, spec.min_height))
