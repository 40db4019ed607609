"""From boxes of single frames to tracklets, and which crops of a tracklet to embed."""

from serving.tracking.crops import crop_quality, cut
from serving.tracking.tracklets import (
    SPARSE_S,
    Tracklet,
    TrackletBuilder,
    bridged_s,
    is_somebody,
    least_frames,
)

__all__ = [
    "SPARSE_S",
    "Tracklet",
    "TrackletBuilder",
    "bridged_s",
    "crop_quality",
    "cut",
    "is_somebody",
    "least_frames",
]
