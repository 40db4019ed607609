"""Footage in: which frames a camera has, and reading any range of them, decoded a thread ahead of who uses
them.
"""

from serving.video.ahead import STALL_S, Pulse, StalledError, ahead
from serving.video.files import open_footage
from serving.video.footage import (
    Clip,
    Footage,
    Frame,
    Picture,
    frames_ahead,
    pictures_ahead,
    queue_length,
    read_frames,
    read_pictures,
    unseen,
)
from serving.video.hardware import with_decoder
from serving.video.opening import SOFTWARE, no_log_callback
from serving.video.pixels import Size, orientation, upright
from serving.video.writer import Label, annotate_all, join_webm

__all__ = [
    "SOFTWARE",
    "STALL_S",
    "Clip",
    "Footage",
    "Frame",
    "Label",
    "Picture",
    "Pulse",
    "Size",
    "StalledError",
    "ahead",
    "annotate_all",
    "frames_ahead",
    "join_webm",
    "no_log_callback",
    "open_footage",
    "orientation",
    "pictures_ahead",
    "queue_length",
    "read_frames",
    "read_pictures",
    "unseen",
    "upright",
    "with_decoder",
]
