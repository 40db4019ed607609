"""Where people are in a frame. One call for all detectors: ``detector.detect(frames) ->
list[sv.Detections]``.

``motion`` needs no weights: background subtraction for fixed cameras. ``yolox`` runs an ONNX file of the
YOLOX layout (Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021", section 2.1: anchor-free, decoupled
head). ``mot`` reads a MOTChallenge detection file made elsewhere. Boxes are ``xyxy`` in pixels of the frame,
clipped to it; confidences are in 0..1.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

from reid.errors import ReidError, UsageError
from reid.files import existing
from reid.processors import processors
from serving.detection.geometry import inside, make_detections
from serving.detection.motion import MotionDetector
from serving.mot import read_mot
from serving.spec import Camera, DetectorSpec
from serving.video import Frame

__all__ = [
    "DETECTORS",
    "Detector",
    "MotDetector",
    "MotionDetector",
    "YoloxDetector",
    "build_detector",
    "inside",
]

Boxes = npt.NDArray[np.float32]
PERSON = 0


class Detector(Protocol):
    """``warm_up`` is how many frames a detector must have seen before its answers hold (0 when it has no
    memory).

    ``at_once`` calls of :meth:`detect` may run side by side, in threads; it is 1 for a detector with a
    memory.
    """

    warm_up: int
    at_once: int

    def detect(self, frames: Sequence[Frame]) -> list[sv.Detections]:
        """Detections of each frame; frames come in order of time."""


def build_detector(spec: DetectorSpec, camera: Camera, threads: int | None = None) -> Detector:
    """Make the detector that a job names, for one camera.

    Raises:
        UsageError: the name is unknown, or a key that the detector needs is missing.
        ReidError: its model or file cannot be used.
    """
    if spec.name not in DETECTORS:
        raise UsageError(f"detector.name is {spec.name!r}: want one of {', '.join(sorted(DETECTORS))}")
    return DETECTORS[spec.name](spec, camera, threads)


class YoloxDetector:
    """A YOLOX ONNX file: letterboxed BGR 0..255 in, raw ``(1, anchors, 5 + classes)`` out. Sizes are read
    from the model.

    Most footage is wider than it is high, and a third of a square input would be padding: the network is run
    on the smallest input that holds the picture, unless its file is made for one size alone.

    ``threads`` is how many one inference uses (all processors where None), ``at_once`` how many run side by
    side. Without ``fit`` the input always is of the file's own size.
    """

    warm_up = 0
    strides = (8, 16, 32)

    def __init__(
        self,
        model: Path | str,
        confidence: float = 0.1,
        nms_iou: float = 0.6,
        min_size: tuple[int, int] = (8, 24),
        threads: int | None = None,
        at_once: int = 1,
        fit: bool = True,
    ) -> None:
        import onnxruntime

        self.model = existing(model, "detector model")
        self._options = onnxruntime.SessionOptions()
        if threads is not None:
            self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 4  # what goes wrong is raised, and said here
        try:
            session = self._open(str(self.model))
        except Exception as error:
            raise ReidError(
                f"detector model {model} cannot be loaded: it is not an ONNX file this runtime reads"
            ) from error
        self.confidence, self.nms_iou, self.min_size = confidence, nms_iou, min_size
        self.at_once, self.fit = at_once, fit
        entry = session.get_inputs()[0]
        if (
            len(entry.shape) != 4
            or entry.shape[1] != 3
            or not all(isinstance(side, int) for side in entry.shape[2:])
        ):
            raise ReidError(
                f"detector model {model} takes {entry.shape}, want (1, 3, height, width) of the YOLOX layout"
            )
        self._whole = _Network(session, entry.shape[2], entry.shape[3], self.strides)
        shape = session.get_outputs()[0].shape
        if len(shape) != 3 or shape[1] != len(self._whole.grid):
            raise ReidError(
                f"detector model {model} answers {shape}, want (1, {len(self._whole.grid)}, 5 + "
                "classes) of the YOLOX layout"
            )
        self._networks = {(self._whole.height, self._whole.width): self._whole}
        self._lock = threading.Lock()

    def detect(self, frames: Sequence[Frame]) -> list[sv.Detections]:
        """See ``Detector``."""
        return [self._one(frame.image) for frame in frames]

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for pictures of that size."""
        network = self._fitting(height, width)
        return network.height, network.width

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The network alone: (1, 3, height, width) to (1, anchors, 5 + classes)."""
        return self._network(*blob.shape[2:]).infer(blob)

    def _one(self, image: npt.NDArray[np.uint8]) -> sv.Detections:
        height, width = image.shape[:2]
        scale = self._scale(height, width)
        network = self._fitting(height, width)
        raw = network.infer(letterbox(image, network.height, network.width, scale))[0]
        confidence = raw[:, 4] * raw[:, 5 + PERSON]
        keep = confidence >= self.confidence
        raw, confidence, stride = raw[keep], confidence[keep], network.stride[keep]
        centre = (raw[:, :2] + network.grid[keep]) * stride
        half = np.exp(raw[:, 2:4]) * stride / 2
        boxes = (np.concatenate([centre - half, centre + half], axis=1) / scale).astype(np.float32)
        found = make_detections(boxes, confidence, width, height, self.min_size)
        return found.with_nms(threshold=self.nms_iou, class_agnostic=True) if len(found) else found

    def _scale(self, height: int, width: int) -> float:
        return min(self._whole.height / height, self._whole.width / width)

    def _open(self, model: str | bytes) -> Any:
        import onnxruntime

        return onnxruntime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])

    def _fitting(self, height: int, width: int) -> "_Network":
        if not self.fit:
            return self._whole
        scale, coarsest = self._scale(height, width), max(self.strides)
        rows, columns = (-(-max(1, round(side * scale)) // coarsest) * coarsest for side in (height, width))
        return self._network(min(rows, self._whole.height), min(columns, self._whole.width))

    def _network(self, height: int, width: int) -> "_Network":
        with self._lock:  # several threads ask for the first frame's at one time
            if (height, width) not in self._networks:
                self._networks[height, width] = self._cut(height, width) or self._whole
            return self._networks[height, width]

    def _cut(self, height: int, width: int) -> "_Network | None":
        """The network for a smaller input; None where the file's operators are written for one size."""
        import onnx

        from serving.runtime.onnx import FAILURES

        model = onnx.load(self.model)
        entry = next(one for one in model.graph.input if one.name == self._whole.input)
        entry.type.tensor_type.shape.dim[2].dim_value, entry.type.tensor_type.shape.dim[3].dim_value = (
            height,
            width,
        )
        model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
        del model.graph.value_info[:]
        try:
            network = _Network(self._open(model.SerializeToString()), height, width, self.strides)
            answer = network.infer(np.zeros((1, 3, height, width), np.float32))
        except FAILURES:
            return None
        return network if answer.shape[1] == len(network.grid) else None


class _Network:
    """The detector's network for inputs of one size, and where its anchors are."""

    def __init__(self, session: Any, height: int, width: int, strides: Sequence[int]) -> None:
        self._session, self.height, self.width = session, height, width
        self.input: str = session.get_inputs()[0].name
        self.grid, self.stride = _grid(height, width, strides)

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        answer: npt.NDArray[np.float32] = self._session.run(None, {self.input: blob})[0]
        return answer


class MotDetector:
    """Detections from a MOTChallenge file: ``frame, id, x, y, w, h, confidence, ...`` with frames counted
    from 1.
    """

    warm_up = 0
    at_once = 1

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


def letterbox(image: npt.NDArray[np.uint8], height: int, width: int, scale: float) -> npt.NDArray[np.float32]:
    """Scale an image into the top left corner of a grey (114) canvas: (H, W, 3) uint8 to (1, 3, height,
    width) float32 0..255.
    """
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    blob = np.full((1, 3, height, width), 114, np.float32)
    # Planes of bytes first, widened while they are copied: less than half the time of doing it pixel by
    # pixel.
    for channel, plane in enumerate(cv2.split(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))):
        blob[0, channel, : size[1], : size[0]] = plane
    return blob


def _grid(height: int, width: int, strides: Sequence[int]) -> tuple[Boxes, Boxes]:
    cells, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _motion(spec: DetectorSpec, camera: Camera, threads: int | None) -> Detector:
    return MotionDetector((spec.min_width, spec.min_height))


def _yolox(spec: DetectorSpec, camera: Camera, threads: int | None) -> Detector:
    if spec.model is None:
        raise UsageError("detector.model is missing: the detector 'yolox' wants an ONNX file")
    confidence = 0.1 if spec.confidence is None else spec.confidence
    least = (spec.min_width, spec.min_height)
    # Frames side by side with a thread each use the processors better than one frame with all of them, whose
    # threads wait for each other.
    return YoloxDetector(
        spec.model, confidence, spec.nms_iou, least, threads=1, at_once=threads or processors()
    )


def _mot(spec: DetectorSpec, camera: Camera, threads: int | None) -> Detector:
    if camera.detections is None:
        raise UsageError(
            f"camera {camera.id}: key 'detections' is missing: the detector 'mot' wants a MOTChallenge "
            "file for each camera"
        )
    return MotDetector(camera.detections, spec.confidence or 0.0, (spec.min_width, spec.min_height))


DETECTORS: dict[str, Callable[[DetectorSpec, Camera, int | None], Any]] = {
    "motion": _motion,
    "yolox": _yolox,
    "mot": _mot,
}
