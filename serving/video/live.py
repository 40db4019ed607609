"""Streams: footage without an end that is known, read once from front to end."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from reid.errors import ReidError
from serving.job import redacted
from serving.pixels import shown_size
from serving.video.ahead import Pulse
from serving.video.index import Index, Keys
from serving.video.opening import opened
from serving.video.order import frame_rate
from serving.video.packets import decoded, packets

__all__ = ["first_look", "live_frames"]

_LOOK = 40  # packets, for the rate


def first_look(source: str, pulse: Pulse, fps: float | None = None) -> Index:
    """What a stream shows: size and rate; an index without frames.

    Raises:
        ReidError: it cannot be opened, or nothing in it decodes.
    """
    first, times = None, []
    with opened(source) as one:
        for place, packet in enumerate(packets(one, pulse)):
            times.append(packet.pts if packet.pts is not None else packet.dts)
            if first is None:
                first = next(iter(decoded(one, packet, place, pulse)), None)
            if first is not None and len(times) >= _LOOK:
                break
        if first is None:
            raise ReidError(f"video {redacted(source)}: no frame of it decodes: check the camera")
        aspect, base = one.stream.sample_aspect_ratio, one.stream.time_base or Fraction(1, 1000)
        times_s = np.sort(np.asarray([time for time in times if time is not None], np.float64) * float(base))
        rate = fps or frame_rate(times_s, (one.stream.guessed_rate, one.stream.average_rate))
        none = np.zeros(0, np.int64)
        keys = Keys(none, none, none, none, none)
        size = shown_size(first, float(aspect) if aspect else 1.0)
        return Index(np.zeros(0), np.zeros(0, np.int32), keys, rate, size, notes=(one.note,) if one.note else ())


def live_frames(source: str, pulse: Pulse) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames with their seconds since the first."""
    origin: float | None = None
    with opened(source) as one:
        for packet in packets(one, pulse):
            try:
                frames = packet.decode()
            except (av.FFmpegError, OSError):
                continue
            for frame in frames:
                time_s = frame.time if frame.time is not None else None
                if time_s is None:
                    continue
                origin = time_s if origin is None else origin
                yield time_s - origin, frame
