"""Frames through a detector, side by side where it has no memory, and out again in their order."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import supervision as sv

from serving.concurrency import map_ordered
from serving.detection.detectors import Detector, inside
from serving.video import Frame

__all__ = ["GROUP", "detect_in_order"]

GROUP = 4
"""Frames of one call of a detector, so that handing them over costs little."""


def detect_in_order(
    frames: Iterator[Frame],
    detector: Detector,
    region: Sequence[tuple[float, float]],
    most: int,
    seconds: dict[str, float],
) -> Iterator[tuple[list[Frame], list[sv.Detections]]]:
    """Groups of frames with their detections inside ``region``, in order, worked out by threads ahead of who
    takes them.

    As many groups are in work as the detector takes ``at_once``. Besides the group that was taken, at most
    ``most`` frames are held, and never fewer than two. ``seconds`` is charged with ``detection`` (the
    threads' time, shared among them) and with ``waiting_for_frames``.
    """
    at_once = max(1, min(detector.at_once, most // 2))
    depth = 2 * at_once
    size = min(GROUP, max(1, most // (depth + 1)))

    def detect(group: list[Frame]) -> tuple[list[Frame], list[sv.Detections], float]:
        begin = time.perf_counter()
        found = [inside(one, region) for one in detector.detect(group)]
        return group, found, time.perf_counter() - begin

    def groups() -> Iterator[list[Frame]]:
        while True:
            begin = time.perf_counter()
            group = list(islice(frames, size))
            seconds["waiting_for_frames"] = (
                seconds.get("waiting_for_frames", 0.0) + time.perf_counter() - begin
            )
            if not group:
                return
            yield group

    with ThreadPoolExecutor(at_once) as pool:
        for group, found, taken in map_ordered(pool, detect, groups(), depth):
            seconds["detection"] = seconds.get("detection", 0.0) + taken / at_once
            yield group, found
