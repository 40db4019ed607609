"""Streams: footage without an end that is known, read once from front to end, and connected again where it
breaks off.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from reid.addresses import redacted
from reid.errors import ReidError
from serving.video.ahead import Pulse
from serving.video.index import Index, Keys
from serving.video.opening import Opened, decoded, opened, packets
from serving.video.order import frame_rate
from serving.video.pixels import shown_size

__all__ = ["first_look", "live_frames"]

_LOOK = 40  # packets, for the rate
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_TRIES = 3  # in vain, at a file that breaks off
_WHOLE = 0.98  # of a file's bytes; behind the last picture there may be an index
_RESTART_S = 1.0  # a clock that falls back further was set anew


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
        aspect = one.stream.sample_aspect_ratio
        base = one.stream.time_base or Fraction(1, 1000)
        times_s = np.sort(np.asarray([time for time in times if time is not None], np.float64) * float(base))
        rate = fps or frame_rate(times_s, (one.stream.guessed_rate, one.stream.average_rate))
        none = np.zeros(0, np.int64)
        keys = Keys(none, none, none, none, none)
        size = shown_size(first, float(aspect) if aspect else 1.0)
        return Index(
            np.zeros(0), np.zeros(0, np.int32), keys, rate, size, notes=(one.note,) if one.note else ()
        )


@dataclass
class _Clock:
    """Seconds since the first frame, over all connections."""

    began: float | None = None  # of the machine's clock
    last_s: float = 0.0
    offset_s: float = 0.0
    here_s: float = 0.0  # of the last frame of this connection

    def connected(self, first_s: float, again: bool, period_s: float) -> None:
        """A connection's first frame has the time ``first_s``; a file begins from the front ``again``, a
        camera does not.
        """
        now = time.monotonic()
        if self.began is None:
            self.began = now
        self.here_s = 0.0
        if self.began == now or again:
            self.offset_s = -first_s
        else:
            self.offset_s = max(self.last_s + period_s, now - self.began) - first_s
            self.here_s = self.last_s

    def seconds(self, frame_s: float, period_s: float) -> float:
        if frame_s + self.offset_s < self.here_s - _RESTART_S:
            self.offset_s = self.here_s + period_s - frame_s
        self.here_s = frame_s + self.offset_s
        return self.here_s


def live_frames(source: str, pulse: Pulse, fps: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames with their seconds since the first, until the stream ends, or ``pulse`` is told to stop.

    A stream that breaks off is connected again, waiting longer each time, for ``pulse.reconnect_s``; what was
    missed meanwhile is a line in ``pulse.problems``. A file of known length is read on where it broke off, as
    long as each try brings something new.

    Raises:
        ReidError: it broke off for good.
    """
    clock, wait_s, vain, gone, is_file = _Clock(), _FIRST_WAIT_S, 0, None, False
    while not pulse.stopped:
        before = clock.last_s if clock.began is not None else -1.0
        whole = False
        try:
            with opened(source, min(20.0, 0.8 * pulse.stall_s)) as one:
                is_file = _is_file(one)
                for time_s, frame in _connection(one, pulse, clock, is_file, fps):
                    if gone is not None and not is_file:
                        pulse.problems.append(
                            f"video {pulse.name} was away for {time.monotonic() - gone:.0f} s, after "
                            f"{before:.0f} s"
                        )
                    gone, wait_s, clock.last_s = None, _FIRST_WAIT_S, time_s
                    yield time_s, frame
                whole = is_file and _is_whole(one, clock.last_s, pulse)
        except (ReidError, av.FFmpegError, OSError):
            whole = False
        if whole or pulse.stopped:
            return
        gone = time.monotonic() if gone is None else gone
        vain = 0 if clock.last_s > before else vain + 1
        over = vain >= _TRIES if is_file else time.monotonic() + wait_s - gone > pulse.reconnect_s
        if over:
            raise ReidError(
                f"video {pulse.name} broke off after {clock.last_s:.1f} s and did not come back, tried "
                "again and again: check the network"
            )
        _wait(wait_s, pulse)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _connection(
    one: Opened, pulse: Pulse, clock: _Clock, is_file: bool, fps: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    known, pulse.bytes_seen, count, connected = clock.last_s if clock.began is not None else -1.0, 0, 0, False
    for packet in one.container.demux(one.stream):
        pulse.beat()
        if pulse.stopped:
            return
        if packet.pos is not None and packet.size:
            pulse.bytes_seen = max(pulse.bytes_seen, packet.pos + packet.size)
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError):
            continue
        for frame in frames:
            frame_s = frame.time if frame.time is not None else count / fps
            count += 1
            if not connected:
                connected = True
                clock.connected(frame_s, is_file, 1.0 / fps)
            time_s = clock.seconds(frame_s, 1.0 / fps)
            if not is_file or time_s > known:  # of a file that is read again, only what is new
                yield time_s, frame


def _is_file(one: Opened) -> bool:
    return _bytes(one) > 0 or bool(one.container.duration)


def _bytes(one: Opened) -> int:
    try:
        return max(0, int(one.container.size))
    except (av.FFmpegError, OSError, ValueError):
        return 0  # a protocol without a size


def _is_whole(one: Opened, end_s: float, pulse: Pulse) -> bool:
    length_s = (one.container.duration or 0) / av.time_base
    if length_s and end_s >= length_s - 1.0:
        return True
    return not _bytes(one) or pulse.bytes_seen >= _WHOLE * _bytes(one)


def _wait(seconds: float, pulse: Pulse) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not pulse.stopped:
        pulse.beat()
        time.sleep(min(left, 0.2))
