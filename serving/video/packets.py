"""Packets of a file in order of decoding, and the frames that a decoder makes of them.

A packet's place in that order is its name. It is written over the packet's times before it is decoded:
decoders hand times through to the frame that they make of the packet, whatever order they put frames in, so
each frame tells which packet it is from.
"""

from collections.abc import Callable, Iterator
from typing import Any

import av

from serving.video.ahead import Pulse
from serving.video.opening import Opened

__all__ = ["decoded", "flushed", "packets"]

_MOST_ERRORS = 16  # one after the other, until a file counts as at its end


def packets(one: Opened, pulse: Pulse, of_others: Callable[[Any], None] | None = None) -> Iterator[Any]:
    """The packets of the video stream that hold data, until the file ends or is damaged for good.

    Those of the file's other streams are shown to ``of_others``, if it is given.
    """
    errors, streams = 0, () if of_others else (one.stream,)
    while errors < _MOST_ERRORS:
        try:
            for packet in one.container.demux(*streams):
                pulse.beat()
                if of_others is not None and packet.stream_index != one.stream.index:
                    of_others(packet)
                elif packet.size:  # an empty one would end the decoding
                    errors = 0
                    yield packet
        except (av.FFmpegError, OSError):
            errors += 1  # damaged here, or cut off inside a packet
        else:
            return


def decoded(one: Opened, packet: Any, place: int, pulse: Pulse) -> list[av.VideoFrame]:
    """The frames that come out when the packet at ``place`` goes in; their ``pts`` are the places of their
    packets.
    """
    packet.pts = packet.dts = place
    return _frames(one, packet, pulse)


def flushed(one: Opened, pulse: Pulse) -> list[av.VideoFrame]:
    """The frames that the decoder still holds after the last packet."""
    return _frames(one, None, pulse)


def _frames(one: Opened, packet: Any, pulse: Pulse) -> list[av.VideoFrame]:
    try:
        frames: list[av.VideoFrame] = one.stream.decode(packet)
    except (av.FFmpegError, OSError):
        frames = []  # this one is damaged, the next may not be
    pulse.beat()
    return frames
