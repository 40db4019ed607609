"""What a camera recorded, as one numbered row of frames over all its files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import av
import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from serving.job import is_url, redacted
from serving.pixels import Size, upright
from serving.video.ahead import STALL_S, Pulse, ahead, watched
from serving.video.index import Index, index_of
from serving.video.live import first_look, live_frames
from serving.video.reading import read_range

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
    """One file of a camera, whose first frame has the number ``first_number`` and lies ``start_s`` after the camera's first; or a stream,
    which has no index.
    """

    source: str
    first_number: int
    start_s: float
    index: Index | None

    @property
    def name(self) -> str:
        """The source without credentials."""
        return redacted(self.source)

    @property
    def frames(self) -> int:
        """How many frames there are; 0 for a stream."""
        return 0 if self.index is None else len(self.index.times_s)


@dataclass(frozen=True)
class Footage:
    """What a camera recorded. ``width`` and ``height`` are those of the upright picture.

    ``problems`` has a line for each file that is left out or incomplete, ``notes`` one for each thing that was decided.
    """

    clips: tuple[Clip, ...]
    fps: float
    width: int
    height: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether the length is unknown: a stream is read once from front to end."""
        return self.clips[0].index is None

    @property
    def frames(self) -> int:
        """How many frames there are; 0 for a stream."""
        return sum(clip.frames for clip in self.clips)

    @property
    def missing(self) -> list[str]:
        """One line for each file that is left out, or ends before its header says, or is damaged."""
        return list(self.problems)

    @property
    def size(self) -> Size:
        """That of the upright picture."""
        return Size(self.width, self.height)


def open_footage(sources: Sequence[str], stall_s: float = STALL_S, fps: float | None = None) -> Footage:
    """Index the files of a camera. A file that cannot be used is left out with a line in ``problems``.

    Args:
        sources: files in their order, or one address of a stream.
        stall_s: seconds without a sign of life until a file is given up.
        fps: frames a second where a file has no times (raw H.264, H.265, MJPEG); its own statement if None.

    Raises:
        ReidError: no file of the camera can be used.
    """
    pulse = Pulse(stall_s)
    clips: list[Clip] = []
    problems: list[str] = []
    notes: list[str] = []
    for source in sources:
        pulse.name = redacted(source)
        try:
            index = watched(partial(first_look if is_url(source) else index_of, source, pulse, fps), pulse)
            if is_url(source):
                return Footage((Clip(source, 1, 0.0, None),), index.fps, index.size.width, index.size.height, (), index.notes)
            _same_size(source, index, clips)
        except ReidError as error:
            problems.append(str(error))
            continue
        last = clips[-1] if clips else None
        start_s = 0.0 if last is None or last.index is None else last.start_s + float(last.index.times_s[-1]) + 1.0 / last.index.fps
        clips.append(Clip(source, 1 if last is None else last.first_number + last.frames, start_s, index))
        problems += [index.problem] if index.problem else []
        notes += index.notes
    if not clips:
        raise ReidError(problems[0] if len(problems) == 1 else f"no file can be used; the first: {problems[0]}")
    first = clips[0].index
    assert first is not None
    return Footage(tuple(clips), first.fps, first.size.width, first.size.height, tuple(problems), tuple(notes))


def _same_size(source: str, index: Index, clips: Sequence[Clip]) -> None:
    if not clips or clips[0].index is None or clips[0].index.size == index.size:
        return
    size, first = index.size, clips[0].index.size
    raise ReidError(
        f"video {redacted(source)} is {size.width}x{size.height}, the files before it {first.width}x{first.height}: make two cameras"
    )


def read_frames(footage: Footage, first: int = 1, last: int | None = None, step: int = 1, pulse: Pulse | None = None) -> Iterator[Frame]:
    """Decode frames ``first`` to ``last`` (both included, counted from 1), every ``step``-th of them.

    Frames that do not decode are left out; a stream ends when it ends. Whatever comes out of the file beats the ``pulse``.

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
        pictures = _of_stream(clip, first, last, pulse) if clip.index is None else _of_file(clip, clip.index, first, last, pulse)
        yield from (picture for picture in pictures if (picture.number - first) % step == 0)


def _of_file(clip: Clip, index: Index, first: int, last: int | None, pulse: Pulse) -> Iterator[Picture]:
    low = max(first - clip.first_number, 0)
    high = clip.frames - 1 if last is None else min(last - clip.first_number, clip.frames - 1)
    if low > high:
        return
    for number, frame in read_range(clip.source, index, low, high, pulse):
        yield Picture(clip.first_number + number, clip.start_s + float(index.times_s[number]), frame)


def _of_stream(clip: Clip, first: int, last: int | None, pulse: Pulse) -> Iterator[Picture]:
    for number, (time_s, frame) in enumerate(live_frames(clip.source, pulse), start=1):
        if last is not None and number > last:
            return
        if number >= first:
            yield Picture(number, time_s, frame)


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
