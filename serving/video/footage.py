"""What a camera recorded, as one numbered row of frames over all its files, and reading any range of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

import av
import numpy as np
import numpy.typing as npt

from reid.addresses import redacted
from serving.video.ahead import STALL_S, Pulse, ahead
from serving.video.index import Index
from serving.video.live import live_frames
from serving.video.opening import SOFTWARE
from serving.video.pixels import Size, upright
from serving.video.reading import read_range

__all__ = [
    "Clip",
    "Footage",
    "Frame",
    "Picture",
    "frames_ahead",
    "pictures_ahead",
    "queue_length",
    "read_frames",
    "read_pictures",
    "unseen",
]

_AHEAD_BYTES = 96 * 2**20


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. ``number`` counts from 1; ``time_s`` is seconds since the camera's first frame; ``image``
    (H, W, 3) uint8 BGR.
    """

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
    """One file of a camera, whose first frame has the number ``first_number`` and lies ``start_s`` after the
    camera's first; or a stream, which has no index.
    """

    source: str
    first_number: int
    start_s: float
    index: Index | None
    decoder: str = SOFTWARE  # that is asked for; or hardware, see serving.video.hardware

    @property
    def name(self) -> str:
        """The source without credentials."""
        return redacted(self.source)

    @property
    def frames(self) -> int:
        """How many frames there are; 0 for a stream."""
        return 0 if self.index is None else len(self.index.times_s)

    def part(self, first: int, last: int) -> "Clip":
        """The frames numbered ``first`` to ``last`` alone, as far as they are in this file."""
        assert self.index is not None
        low, high = max(first - self.first_number, 0), min(last - self.first_number, self.frames - 1)
        return Clip(
            self.source,
            self.first_number + low,
            self.start_s + float(self.index.times_s[low]),
            self.index.part(low, high),
            self.decoder,
        )


@dataclass(frozen=True)
class Footage:
    """What a camera recorded. ``width`` and ``height`` are those of the upright picture.

    ``problems`` has a line for each file that is left out or incomplete, ``notes`` one for each thing that
    was decided.
    """

    clips: tuple[Clip, ...]
    fps: float
    width: int
    height: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    start: datetime | None = None  # clock time of the first frame, where the files say it
    # how many frames were read from this object, by what decoded them
    decoded: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def live(self) -> bool:
        """Whether the length is unknown: a stream is read once from front to end."""
        return self.clips[0].index is None

    @property
    def frames(self) -> int:
        """How many frames there are; 0 for a stream."""
        return sum(clip.frames for clip in self.clips)

    def part(self, first: int, last: int) -> "Footage":
        """The frames numbered ``first`` to ``last`` alone, under the same numbers: what a worker is sent."""
        clips = (
            clip
            for clip in self.clips
            if clip.first_number <= last and first < clip.first_number + clip.frames
        )
        parts = tuple(clip.part(first, last) for clip in clips)
        return replace(self, clips=parts, problems=(), notes=(), decoded=Counter())

    @property
    def missing(self) -> list[str]:
        """One line for each file that is left out, or ends before its header says, or is damaged."""
        return list(self.problems)

    @property
    def size(self) -> Size:
        """That of the upright picture."""
        return Size(self.width, self.height)


def read_frames(
    footage: Footage, first: int = 1, last: int | None = None, step: int = 1, pulse: Pulse | None = None
) -> Iterator[Frame]:
    """Decode frames ``first`` to ``last`` (both included, counted from 1), every ``step``-th of them.

    Frames that do not decode are left out; a stream ends when it ends. Whatever comes out of the file beats
    the ``pulse``.

    Raises:
        ReidError: a file that was there has gone, or nothing in it decodes.
    """
    for picture in read_pictures(footage, first, last, step, pulse):
        yield Frame(picture.number, picture.time_s, upright(picture.frame, footage.size))


def read_pictures(
    footage: Footage, first: int = 1, last: int | None = None, step: int = 1, pulse: Pulse | None = None
) -> Iterator[Picture]:
    """:func:`read_frames` as the decoder gives them, neither turned nor converted."""
    pulse = pulse or Pulse()
    for clip in footage.clips:
        pulse.name = clip.name
        if clip.index is None:
            pictures = _of_stream(clip, first, last, pulse, footage.fps)
            yield from (picture for picture in pictures if (picture.number - first) % step == 0)
            continue
        # The camera's numbers, every step-th, that lie in this file.
        low = first + -(-max(clip.first_number - first, 0) // step) * step
        end = clip.first_number + clip.frames
        own = range(low, end if last is None else min(last + 1, end), step)
        if own:
            yield from _of_file(clip, clip.index, own, pulse, footage.decoded)


def _of_file(
    clip: Clip, index: Index, numbers: range, pulse: Pulse, decoded: Counter[str]
) -> Iterator[Picture]:
    wanted = range(numbers.start - clip.first_number, numbers.stop - clip.first_number, numbers.step)
    for number, frame in read_range(clip.source, index, wanted, pulse, clip.decoder):
        decoded[pulse.decoder] += 1
        yield Picture(clip.first_number + number, clip.start_s + float(index.times_s[number]), frame)


def _of_stream(clip: Clip, first: int, last: int | None, pulse: Pulse, fps: float) -> Iterator[Picture]:
    for number, (time_s, frame) in enumerate(live_frames(clip.source, pulse, fps), start=1):
        if last is not None and number > last:
            return
        if number >= first:
            yield Picture(number, time_s, frame)


def frames_ahead(
    footage: Footage, first: int = 1, last: int | None = None, step: int = 1, stall_s: float = STALL_S
) -> Iterator[Frame]:
    """:func:`read_frames` in a thread ahead of the caller.

    Raises:
        ReidError: as :func:`read_frames`, and when nothing comes for ``stall_s`` seconds.
    """
    pulse = Pulse(stall_s)
    return ahead(read_frames(footage, first, last, step, pulse), queue_length(footage), pulse)


def pictures_ahead(
    footage: Footage, first: int = 1, last: int | None = None, step: int = 1, stall_s: float = STALL_S
) -> Iterator[Picture]:
    """:func:`read_pictures` in a thread ahead of the caller; raises as :func:`frames_ahead`."""
    pulse = Pulse(stall_s)
    return ahead(read_pictures(footage, first, last, step, pulse), queue_length(footage), pulse)


def queue_length(footage: Footage) -> int:
    """How many decoded frames may wait, so that their memory is bounded whatever the picture's size."""
    return int(np.clip(_AHEAD_BYTES // max(1, footage.width * footage.height * 3), 2, 32))


def unseen(lost: int, total: int, first: int, last: int) -> str:
    """The line on ``lost`` of ``total`` frames that were promised and did not decode; the first of them are
    ``first`` to ``last``.
    """
    where = f"number {first}" if first == last else f"numbers {first} to {last}"
    return f"{lost} of {total} frames are damaged and were not seen, the first: {where}"
