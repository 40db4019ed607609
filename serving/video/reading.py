"""Any range of a file's frames, by its index: from the nearest place where decoding can begin, each frame
under its own number.
"""

from collections.abc import Generator, Iterator
from typing import Any

import av
import numpy as np

from reid.errors import ReidError
from serving.video.ahead import Pulse
from serving.video.index import Index
from serving.video.opening import SOFTWARE, Opened, opened
from serving.video.packets import decoded, flushed, packets

__all__ = ["read_range"]

_NEAR = 64  # packets: so near to the front, or to each other, reading on is faster than a seek
_LOOK = 2000  # packets, until a seek counts as gone astray
_EARLIER = (0, 1, 4)  # key frames further back, where the first frame does not come from the nearest


# To a key frame: where it begins in the file, by its time, or on from the front without decoding. What a
# container's own way leads to is not always what was asked for; so the packets found are compared with the
# index.
_WAYS = {True: ("bytes", "time", "front"), False: ("time", "bytes", "front")}


class _AstrayError(Exception):
    """The packets are not those of the index."""


def read_range(
    source: str, index: Index, first: int, last: int, pulse: Pulse, decoder: str = SOFTWARE
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode frames ``first`` to ``last`` of a file, both included, from 0 in order of display; those that do
    not decode are left out. From the first that the hardware ``decoder`` leaves out, software decodes.

    Raises:
        ReidError: the file has gone, or is not the one that was indexed.
    """
    if decoder != SOFTWARE:
        for number, frame in _range(source, index, first, last, pulse, decoder):
            if number != first:
                break
            yield number, frame
            first += 1
    if first <= last:
        yield from _range(source, index, first, last, pulse, SOFTWARE)


def _range(
    source: str, index: Index, first: int, last: int, pulse: Pulse, decoder: str
) -> Iterator[tuple[int, av.VideoFrame]]:
    frame_of = np.full(int(index.place.max()) + 1, -1, np.int64)
    frame_of[index.place] = np.arange(len(index.place))
    nearest = max(0, int(np.searchsorted(index.keys.frame, first, side="right")) - 1)
    for back in _EARLIER:
        key = max(0, nearest - back)
        found = _frames(source, index, key, frame_of, first, last, pulse, decoder)
        begin = next(found, None)
        if begin is not None and (begin[0] == first or key == 0 or back == _EARLIER[-1]):
            yield begin
            yield from found
            return
        found.close()
        if key == 0:
            return


def _frames(
    source: str, index: Index, key: int, frame_of: Any, first: int, last: int, pulse: Pulse, decoder: str
) -> "Generator[tuple[int, av.VideoFrame], None, None]":
    seen = first - 1
    ways = ("front",) if index.keys.place[key] <= _NEAR else _WAYS[index.by_bytes]
    for way in ways:
        try:
            with opened(source, version=index.version, decoder=decoder) as one:
                pulse.decoder = one.decoder
                for frame in _decoded_from(one, index, key, way, pulse):
                    number = (
                        int(frame_of[frame.pts])
                        if frame.pts is not None and 0 <= frame.pts < len(frame_of)
                        else -1
                    )
                    if number > last:
                        return
                    if number > seen:  # and not before, of hidden packets, or one that the decoder repeats
                        seen = number
                        yield number, frame
                        if number == last:
                            return
            return
        except _AstrayError:
            continue
    raise ReidError(f"video {pulse.name} has changed since it was opened: run again")


def _decoded_from(one: Opened, index: Index, key: int, way: str, pulse: Pulse) -> Iterator[av.VideoFrame]:
    for place, packet in _packets_from(one, index, key, way, pulse):
        yield from decoded(one, packet, place, pulse)
    yield from flushed(one, pulse)


def _packets_from(one: Opened, index: Index, key: int, way: str, pulse: Pulse) -> Iterator[tuple[int, Any]]:
    """Packets from the key frame number ``key`` on, with their places; each key frame on the way is compared
    with the index.
    """
    keys, target = index.keys, int(index.keys.place[key])
    stream = packets(one, pulse)
    begin = 0
    if way != "front":
        _seek(one, index, key, way)
        begin, packet = _found(stream, index, key)
        if begin == target:
            yield begin, packet
        begin += 1
    n = int(np.searchsorted(keys.place, begin))
    for place, packet in enumerate(stream, start=begin):
        if packet.is_keyframe:
            known = n < len(keys.place) and keys.place[n] == place
            if (known and not _same(packet, index, n)) or (not known and way != "front"):
                raise _AstrayError
            n += known
        if place >= target:
            yield place, packet


def _seek(one: Opened, index: Index, key: int, way: str) -> None:
    position, clock = int(index.keys.position[key]), int(index.keys.clock[key])
    if way == "bytes" and position < 0:
        raise _AstrayError
    try:
        if way == "bytes":
            one.container.seek(position, unsupported_byte_offset=True, stream=one.stream)
        else:
            one.container.seek(clock, stream=one.stream, backward=True)
    except (av.FFmpegError, OSError, OverflowError):
        raise _AstrayError from None


def _found(stream: Iterator[Any], index: Index, key: int) -> tuple[int, Any]:
    """The first key frame after a seek, and its place: that of the key frame wanted, or of one before it."""
    for count, packet in enumerate(stream):
        if packet.is_keyframe:
            position = -1 if packet.pos is None else packet.pos
            if position >= 0:
                for n in np.flatnonzero(index.keys.position[: key + 1] == position):
                    if _same(packet, index, int(n)):
                        return int(index.keys.place[n]), packet
            elif _same(packet, index, key):
                return int(index.keys.place[key]), packet
            raise _AstrayError
        if count > _LOOK:
            break
    raise _AstrayError


def _same(packet: Any, index: Index, key: int) -> bool:
    position = -1 if packet.pos is None else packet.pos
    return bool(packet.size == index.keys.size[key] and position == index.keys.position[key])
