"""Frames of a camera at which decoding can begin, and reading them alone: while nothing moves, what lies
between need not be decoded. How large its packets are is known all the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from serving.video.ahead import Pulse
from serving.video.footage import Footage, Picture
from serving.video.reading import read_singles

__all__ = ["packet_sizes", "read_stops", "stops_of", "times_of"]


def stops_of(footage: Footage, first: int, last: int, step: int) -> list[int]:
    """Of the frames ``first`` to ``last``, every ``step``-th, the first from each key frame on."""
    found: list[int] = []
    for clip in footage.clips:
        if clip.index is None:
            continue
        keys = clip.first_number + np.unique(clip.index.keys.frame)
        numbers = first + -(-(keys - first) // step) * step
        until = np.append(keys[1:], clip.first_number + clip.frames)  # a frame is of the key frame before it
        fits = (numbers < until) & (numbers >= first) & (numbers <= last)
        found += [int(number) for number in numbers[fits]]
    return found


def read_stops(footage: Footage, numbers: Sequence[int], pulse: Pulse) -> Iterator[Picture]:
    """The frames of these ascending ``numbers``, each decoded from the key frame before it; those that do not
    decode are left out.

    Raises:
        ReidError: as :func:`serving.video.read_frames`.
    """
    for clip in footage.clips:
        own = [
            number - clip.first_number for number in numbers if 0 <= number - clip.first_number < clip.frames
        ]
        if clip.index is None or not own:
            continue
        pulse.name = clip.name
        for number, frame in read_singles(clip.source, clip.index, own, pulse):
            yield Picture(clip.first_number + number, clip.start_s + float(clip.index.times_s[number]), frame)


def times_of(footage: Footage, numbers: range) -> list[float]:
    """Seconds since the camera's first frame of each of the frames."""
    found: list[float] = []
    for clip in footage.clips:
        if clip.index is not None:
            own = [number - clip.first_number for number in numbers]
            found += [clip.start_s + float(clip.index.times_s[one]) for one in own if 0 <= one < clip.frames]
    return found


def packet_sizes(footage: Footage, numbers: range) -> npt.NDArray[np.int32]:
    """Bytes of the packets of the frames, in order of display."""
    found = [np.zeros(0, np.int32)]
    for clip in footage.clips:
        if clip.index is not None:
            begin, end = (max(0, number - clip.first_number) for number in (numbers.start, numbers.stop))
            found.append(clip.index.packet_size[begin:end])
    return np.concatenate(found)
