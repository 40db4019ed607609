"""Any range of a file's frames, by its index: from the nearest place where decoding can begin, each frame
under its own number.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from serving.video.ahead import Pulse
from serving.video.index import Index
from serving.video.opening import SOFTWARE, Opened, decoded, flushed, opened, packets

__all__ = ["read_range", "read_singles"]

Numbers = npt.NDArray[np.int64]  # of frames

_NEAR = 64  # packets: so near to the front, or to each other, reading on is faster than a seek
_LOOK = 2000  # packets, until a seek counts as gone astray
# Decoders that can be told, packet by packet, to pass over a frame that no other refers to. That of AV1 is
# told once, when it is opened.
_SKIP = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
_EARLIER = (0, 1, 4)  # key frames further back, where the first frame does not come from the nearest


# To a key frame: where it begins in the file, by its time, or on from the front without decoding. What a
# container's own way leads to is not always what was asked for; so the packets found are compared with the
# index.
_WAYS = {True: ("bytes", "time", "front"), False: ("time", "bytes", "front")}


class _AstrayError(Exception):
    """The packets are not those of the index."""


def read_range(
    source: str, index: Index, wanted: range, pulse: Pulse, decoder: str = SOFTWARE
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the ``wanted`` frames of a file, from 0 in order of display and ascending; those that do not
    decode are left out. Of the frames between them the decoder passes over those that no other needs. From
    the first that the hardware ``decoder`` leaves out, software decodes.

    Raises:
        ReidError: the file has gone, or is not the one that was indexed.
    """
    if decoder != SOFTWARE:
        for number, frame in _range(source, index, wanted, pulse, decoder):
            if number != wanted[0]:
                break
            yield number, frame
            wanted = wanted[1:]
            if not wanted:
                return
    yield from _range(source, index, wanted, pulse, SOFTWARE)


def _range(
    source: str, index: Index, wanted: range, pulse: Pulse, decoder: str
) -> Iterator[tuple[int, av.VideoFrame]]:
    first = wanted[0]
    frame_of = np.full(int(index.place.max()) + 1, -1, np.int64)
    frame_of[index.place] = np.arange(len(index.place))
    nearest = max(0, int(np.searchsorted(index.keys.frame, first, side="right")) - 1)
    for back in _EARLIER:
        key = max(0, nearest - back)
        found = _frames(source, index, key, frame_of, wanted, pulse, decoder)
        begin = next(found, None)
        if begin is not None and (begin[0] == first or key == 0 or back == _EARLIER[-1]):
            yield begin
            yield from found
            return
        found.close()
        if key == 0:
            return


def read_singles(
    source: str, index: Index, frames: Sequence[int], pulse: Pulse
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode single ``frames`` of a file, from 0 and ascending, each from the key frame before it on; what
    lies between them is read and not decoded. Those that do not decode are left out.

    Raises:
        ReidError: as :func:`read_range`.
    """
    keys = np.searchsorted(index.keys.frame, np.asarray(frames), side="right") - 1
    begins, ends = index.keys.place[np.maximum(keys, 0)], index.place[np.asarray(frames)]
    done = 0
    for way in _ways(index, int(max(keys[0], 0))):
        try:
            with opened(source, version=index.version) as one:
                # Threads that decode a picture each would only be waited for.
                one.stream.thread_type = "SLICE"
                for place, packet in _packets_from(one, index, int(max(keys[done], 0)), way, pulse):
                    if place < begins[done]:
                        continue
                    found = decoded(one, packet, place, pulse)
                    if place < ends[done]:
                        continue
                    found += flushed(one, pulse)
                    one.stream.codec_context.flush_buffers()  # and takes packets again
                    done += 1
                    yield from ((frames[done - 1], frame) for frame in found if frame.pts == place)
                    if done == len(frames):
                        return
            return
        except _AstrayError:
            continue
    raise _changed(pulse)


def _ways(index: Index, key: int) -> tuple[str, ...]:
    return ("front",) if index.keys.place[key] <= _NEAR else _WAYS[index.by_bytes]


def _changed(pulse: Pulse) -> ReidError:
    return ReidError(f"video {pulse.name} has changed since it was opened: run again")


def _frames(
    source: str, index: Index, key: int, frame_of: Numbers, wanted: range, pulse: Pulse, decoder: str
) -> "Generator[tuple[int, av.VideoFrame], None, None]":
    seen, last = wanted[0] - 1, wanted[-1]
    for way in _ways(index, key):
        try:
            with opened(source, version=index.version, decoder=decoder) as one:
                pulse.decoder = one.decoder
                for frame in _decoded_from(one, index, key, way, frame_of, wanted, pulse):
                    number = (
                        int(frame_of[frame.pts])
                        if frame.pts is not None and 0 <= frame.pts < len(frame_of)
                        else -1
                    )
                    if number > last:
                        return
                    if number > seen:  # and not before, of hidden packets, or one that the decoder repeats
                        seen = number
                        if number in wanted:
                            yield number, frame
                        if number == last:
                            return
            return
        except _AstrayError:
            continue
    raise _changed(pulse)


def _decoded_from(
    one: Opened, index: Index, key: int, way: str, frame_of: Numbers, wanted: range, pulse: Pulse
) -> Iterator[av.VideoFrame]:
    skips = one.stream.codec_context.name in _SKIP
    for place, packet in _packets_from(one, index, key, way, pulse):
        if skips:
            # A packet that is no frame's own may be the other half of one: a second field.
            number = int(frame_of[place]) if place < len(frame_of) else -1
            needed = number < 0 or number in wanted
            one.stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        yield from decoded(one, packet, place, pulse)
    yield from flushed(one, pulse)


def _packets_from(one: Opened, index: Index, key: int, way: str, pulse: Pulse) -> Iterator[tuple[int, Any]]:
    """Packets from the key frame number ``key`` on, with their places; each key frame on the way is compared
    with the index, as far as its frames reach: of a part of a file it does not know the key frames after
    them, and a decoder takes some packets more before it gives the last frame.
    """
    keys, target, end = index.keys, int(index.keys.place[key]), int(index.place.max())
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
        if packet.is_keyframe and place <= end:
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
