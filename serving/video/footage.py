"""Footage in: which frames a camera has, and reading any range of them, decoded a thread ahead of who uses them.

A frame's number is its place in presentation order, counted from 1 over all files of the camera, whatever the rate. Numbers
come from the container's packets and not from counting what decodes, so a frame that does not decode leaves a gap and
moves no other frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from serving.job import is_url, redacted
from serving.pixels import upright
from serving.video.ahead import STALL_S, Pulse, ahead, watched
from serving.video.opening import opened

__all__ = [
    "Clip",
    "Footage",
    "Frame",
    "Picture",
    "frames_ahead",
    "open_footage",
    "pictures_ahead",
    "queue_length",
    "read_frames",
    "read_pictures",
]

_AHEAD_BYTES = 96 * 2**20


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. ``number`` counts from 1; ``time_s`` is seconds since the camera's first frame; ``image`` (H, W, 3) uint8 BGR."""

    number: int
    time_s: float
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as the decoder gave it. ``number`` and ``time_s`` are those of its :class:`Frame`."""

    number: int
    time_s: float
    frame: av.VideoFrame


@dataclass(frozen=True)
class Clip:
    """One file (or stream) of a camera. ``pts`` are the sorted presentation times in units of ``time_base``; empty for a stream."""

    source: str
    first_number: int
    start_s: float
    time_base: Fraction
    pts: npt.NDArray[np.int64]
    promised: int  # frames that the header promises; 0 where it says nothing

    @property
    def name(self) -> str:
        """The source without credentials."""
        return redacted(self.source)


@dataclass(frozen=True)
class Footage:
    """What a camera recorded. ``width`` and ``height`` are those of the upright picture."""

    clips: tuple[Clip, ...]
    fps: float
    width: int
    height: int

    @property
    def live(self) -> bool:
        """Whether the length is unknown: a stream is read once from front to end."""
        return len(self.clips) == 1 and not len(self.clips[0].pts)

    @property
    def frames(self) -> int:
        """How many frames there are; 0 for a stream."""
        return sum(len(clip.pts) for clip in self.clips)

    @property
    def missing(self) -> list[str]:
        """One line for each file that ends before its header says."""
        return [
            f"video {clip.name} is cut off: {len(clip.pts)} of {clip.promised} frames are there"
            for clip in self.clips
            if len(clip.pts) < clip.promised
        ]


def open_footage(sources: list[str], stall_s: float = STALL_S) -> Footage:
    """Index the files of a camera without decoding them.

    Raises:
        ReidError: a file is missing, empty, is no video, differs in size from the first, or gives nothing for ``stall_s`` seconds.
    """
    pulse = Pulse(stall_s)
    clips: list[Clip] = []
    number, start_s, fps, size = 1, 0.0, 0.0, (0, 0)
    for source in sources:
        pulse.name = redacted(source)
        clip, clip_fps, clip_size = watched(partial(_index, source, number, start_s, pulse), pulse)
        if clips and clip_size != size:
            raise ReidError(
                f"video {clip.name} is {clip_size[0]}x{clip_size[1]}, the files before it {size[0]}x{size[1]}: make two cameras"
            )
        if not clips:
            fps, size = clip_fps, clip_size
        clips.append(clip)
        number += len(clip.pts)
        if len(clip.pts):
            start_s += float((int(clip.pts[-1]) - int(clip.pts[0])) * clip.time_base) + 1.0 / clip_fps
    return Footage(tuple(clips), fps, *size)


def read_frames(footage: Footage, first: int = 1, last: int | None = None, step: int = 1, pulse: Pulse | None = None) -> Iterator[Frame]:
    """Decode frames ``first`` to ``last`` (both included, counted from 1), every ``step``-th of them.

    Frames that do not decode are left out; a stream ends when it ends. Whatever comes out of the file beats the ``pulse``.

    Raises:
        ReidError: a file that was there has gone, or nothing in it decodes.
    """
    for picture in read_pictures(footage, first, last, step, pulse):
        yield Frame(picture.number, picture.time_s, upright(picture.frame))


def read_pictures(
    footage: Footage, first: int = 1, last: int | None = None, step: int = 1, pulse: Pulse | None = None
) -> Iterator[Picture]:
    """:func:`read_frames` as the decoder gives them, neither turned nor converted."""
    pulse = pulse or Pulse()
    for clip in footage.clips:
        pulse.name = clip.name
        if len(clip.pts):
            low, high = max(first, clip.first_number), clip.first_number + len(clip.pts) - 1
            high = high if last is None else min(high, last)
            if low > high:
                continue
        else:
            low, high = first, last if last is not None else 2**62
        yield from (picture for picture in _decode(clip, low, high, pulse) if (picture.number - first) % step == 0)


def frames_ahead(footage: Footage, first: int = 1, last: int | None = None, step: int = 1, stall_s: float = STALL_S) -> Iterator[Frame]:
    """:func:`read_frames` in a thread ahead of the caller.

    Raises:
        ReidError: as :func:`read_frames`, and when nothing comes for ``stall_s`` seconds.
    """
    pulse = Pulse(stall_s)
    return ahead(read_frames(footage, first, last, step, pulse), queue_length(footage), pulse)


def pictures_ahead(footage: Footage, first: int = 1, last: int | None = None, step: int = 1, stall_s: float = STALL_S) -> Iterator[Picture]:
    """:func:`read_pictures` in a thread ahead of the caller; raises as :func:`frames_ahead`."""
    pulse = Pulse(stall_s)
    return ahead(read_pictures(footage, first, last, step, pulse), queue_length(footage), pulse)


def queue_length(footage: Footage) -> int:
    """How many decoded frames may wait, so that their memory is bounded whatever the picture's size."""
    return int(np.clip(_AHEAD_BYTES // max(1, footage.width * footage.height * 3), 2, 32))


def _index(source: str, first_number: int, start_s: float, pulse: Pulse) -> tuple[Clip, float, tuple[int, int]]:
    with opened(source) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        time_base = stream.time_base or Fraction(1, 1000)
        pts: list[int] = []
        promised = 0
        size = (stream.codec_context.width, stream.codec_context.height)
        if not is_url(source):
            pts, promised = _packet_times(container, stream, pulse), int(stream.frames)
            if not pts:
                raise ReidError(f"video {redacted(source)} holds no frame: copy it again")
            size = _first_size(source, pulse)
    return Clip(source, first_number, start_s, time_base, np.asarray(sorted(set(pts)), np.int64), promised), fps, size


def _packet_times(container: Any, stream: Any, pulse: Pulse) -> list[int]:
    times: list[int] = []
    try:
        for packet in container.demux(stream):
            pulse.beat()
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and not packet.is_discard:
                times.append(time)
            elif packet.size:
                times.append(times[-1] + 1 if times else 0)
    except (av.FFmpegError, OSError):
        return times  # cut off in the middle of a packet: what came before it is the index
    return times


def _first_size(source: str, pulse: Pulse) -> tuple[int, int]:
    with opened(source) as container:
        for frame in _frames(container, pulse):
            turned = round(frame.rotation / 90) % 2 == 1
            return (frame.height, frame.width) if turned else (frame.width, frame.height)
    raise ReidError(f"video {redacted(source)}: no frame of it decodes; it is damaged, copy it again")


def _frames(container: Any, pulse: Pulse) -> Iterator[Any]:
    stream = container.streams.video[0]
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            return  # the file ends inside a packet
        pulse.beat()
        try:
            yield from packet.decode()
        except (av.FFmpegError, OSError):
            continue  # this frame is damaged, the next may not be


def _decode(clip: Clip, low: int, high: int, pulse: Pulse) -> Iterator[Picture]:
    with opened(clip.source) as container:
        stream = container.streams.video[0]
        seen = clip.first_number - 1
        origin: float | None = float(clip.pts[0] * clip.time_base) if len(clip.pts) else None
        if low > clip.first_number:
            container.seek(int(clip.pts[low - clip.first_number]), stream=stream, backward=True)
        for frame in _frames(container, pulse):
            time = frame.pts if frame.pts is not None else frame.dts
            indexed = len(clip.pts) and time is not None
            number = clip.first_number + int(np.searchsorted(clip.pts, time)) if indexed else seen + 1
            if number <= seen:
                continue  # a decoder that repeats itself after a damaged packet
            seen = number
            if number > high:
                return
            if number >= low:
                seconds = float(time * clip.time_base) if time is not None else float(number)
                origin = seconds if origin is None else origin
                yield Picture(number, clip.start_s + seconds - origin, frame)
