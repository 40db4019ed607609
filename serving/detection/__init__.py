"""Where people are in a frame: detectors behind one interface."""

from serving.detection.detectors import Detector, NetworkDetector, build_detector
from serving.detection.geometry import inside
from serving.detection.layouts import LAYOUTS
from serving.detection.model import DetectorModel, open_model
from serving.detection.ordered import detect_in_order

__all__ = [
    "LAYOUTS",
    "Detector",
    "DetectorModel",
    "NetworkDetector",
    "build_detector",
    "detect_in_order",
    "inside",
    "open_model",
]
