"""Where people are in a frame: detectors behind one interface."""

from serving.detection.detectors import Detector, NetworkDetector, build_detector
from serving.detection.geometry import inside
from serving.detection.layouts import LAYOUTS
from serving.detection.model import DetectorModel, open_model
from serving.detection.ordered import GROUP, detect_in_order
from serving.detection.packets import PacketSizes
from serving.detection.stillness import UNCHANGED, Background, Cells, Change, cell_mask, cells_of, grid_of

__all__ = [
    "GROUP",
    "LAYOUTS",
    "UNCHANGED",
    "Background",
    "Cells",
    "Change",
    "Detector",
    "DetectorModel",
    "NetworkDetector",
    "PacketSizes",
    "build_detector",
    "cell_mask",
    "cells_of",
    "detect_in_order",
    "grid_of",
    "inside",
    "open_model",
]
