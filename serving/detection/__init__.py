"""Where people are in a frame: detectors behind one interface."""

from serving.detection.detectors import Detector, YoloxDetector, build_detector, letterbox
from serving.detection.ordered import detect_in_order

__all__ = ["Detector", "YoloxDetector", "build_detector", "detect_in_order", "letterbox"]
