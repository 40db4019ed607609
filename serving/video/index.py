"""The index of a file: what can be shown, in order of display, with the container's times. The file is read
once and hardly decoded.

Only where a container cannot say in which order frames are shown (B-frames in AVI, in raw streams, ...) the
decoder is asked.
"""

from array import array
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from reid.addresses import redacted
from reid.errors import ReidError
from serving.stores import local_version, skip_payload
from serving.video.ahead import Pulse
from serving.video.opening import Opened, decoded, flushed, opened, packets
from serving.video.order import (
    UNKNOWN,
    Floats,
    Ints,
    continuous,
    display_order,
    frame_rate,
    gaps_in,
    in_words,
    steady_times,
)
from serving.video.pixels import Size, shown_size

__all__ = ["Index", "Keys", "index_of"]

# Containers that store the time at which each frame is shown. Of others FFmpeg guesses it, and with B-frames
# wrongly.
_TIMED = {"mov", "matroska", "mpegts", "flv", "nut", "mxf", "ogg", "wtv"}
_TELLS_LENGTH = {"matroska", "flv", "mxf"}  # in seconds, not in frames
# Codecs whose key frames are flagged rightly, by a parser or because each frame is one.
_FLAGGED = {
    "h264",
    "hevc",
    "vvc",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "vp8",
    "vp9",
    "av1",
    "libdav1d",
    "ffv1",
    "png",
    "cfhd",
}
_BY_TABLE = {"h264", "hevc", "mpeg4"}
_KEYS_BEFORE = 16  # kept of what lies before a part of an index, for seeks that end up too early
_CUT_S = 1.0  # shorter by less is rounding


@dataclass(frozen=True)
class Keys:
    """Packets from which decoding can begin, (K,) each: their ``place`` in order of decoding, the first
    ``frame`` (from 0, in order of display) that is right when it begins there, the packet's ``position`` in
    the file in bytes (-1: unknown), ``size`` in bytes and ``clock``, the time to seek it by.
    """

    place: Ints
    frame: Ints
    position: Ints
    size: Ints
    clock: Ints

    def part(self, begin: int, end: int) -> "Keys":
        """Those number ``begin`` to ``end``, which is not included."""
        return Keys(
            *(values[begin:end] for values in (self.place, self.frame, self.position, self.size, self.clock))
        )


@dataclass(frozen=True)
class Index:
    """N frames of a file in order of display.

    Attributes:
        times_s: (N,) float64, seconds since the first frame.
        place: (N,) int32, which packet, in order of decoding, the frame is made of.
        keys: where decoding can begin.
        fps: frames a second.
        size: of the picture as it is to be seen.
        recorded: when the recording began, as the file says itself.
        by_bytes: seek by position and not by time.
        problem: what is missing of the file; '' for nothing.
        notes: what was decided about it.
        version: of the file that was read, see :func:`serving.stores.version_of`; '' of an address.
        packet_size: (N,) int32, bytes of the packet of each frame; none of an address.
    """

    times_s: Floats
    place: npt.NDArray[np.int32]
    keys: Keys
    fps: float
    size: Size
    recorded: datetime | None = None
    by_bytes: bool = False
    problem: str = ""
    notes: tuple[str, ...] = ()
    version: str = ""
    packet_size: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def part(self, first: int, last: int | None = None) -> "Index":
        """The index of frames ``first`` to ``last`` alone, both included, from 0; the time of the first is
        then 0.
        """
        end = len(self.times_s) if last is None else last + 1
        times_s, place = self.times_s[first:end], self.place[first:end]
        begin = max(0, int(np.searchsorted(self.keys.frame, first, side="right")) - _KEYS_BEFORE)
        until = max(
            begin + 1, int(np.searchsorted(self.keys.place, place.max() if len(place) else 0, side="right"))
        )
        keys = self.keys.part(begin, until)
        return replace(
            self,
            times_s=times_s - times_s[:1],
            place=place,
            packet_size=self.packet_size[first:end],
            keys=replace(keys, frame=np.maximum(keys.frame - first, 0)),
        )


@dataclass
class _Scan:
    """What was seen of the packets of a file."""

    pts: "array[int]" = field(default_factory=lambda: array("q"))
    dts: "array[int]" = field(default_factory=lambda: array("q"))
    hidden: "array[int]" = field(default_factory=lambda: array("b"))
    sizes: "array[int]" = field(default_factory=lambda: array("i"))
    keys: list[tuple[int, int, int]] = field(default_factory=list)  # place, position, size
    first: av.VideoFrame | None = None
    shown: "array[int]" = field(default_factory=lambda: array("q"))  # places, as the decoder gave frames
    torn: bool = False  # the last packet is not there whole
    end_s: float = 0.0  # of the last packet of any kind

    def take(self, packet: Any) -> None:
        if packet.is_keyframe:
            self.keys.append((len(self.pts), -1 if packet.pos is None else packet.pos, packet.size))
        self.pts.append(UNKNOWN if packet.pts is None else packet.pts)
        self.dts.append(UNKNOWN if packet.dts is None else packet.dts)
        self.hidden.append(packet.is_discard)
        self.sizes.append(packet.size)
        self.torn = packet.is_corrupt
        self.reach(packet)

    def reach(self, packet: Any) -> None:
        if packet.pts is not None and packet.time_base:
            self.end_s = max(self.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))

    def took(self, frames: list[av.VideoFrame]) -> None:
        if frames and self.first is None:
            self.first = frames[0]
        self.shown.extend(frame.pts for frame in frames if frame.pts is not None)


def index_of(source: str, pulse: Pulse, fps: float | None = None) -> Index:
    """Read a file's packets; ``fps`` is taken where the file has no times.

    Raises:
        ReidError: it cannot be opened, or nothing in it decodes.
    """
    with opened(source) as one:
        kind = _kind(one)
        timeless = bool(one.container.format.flags & av.format.Flags.no_timestamps.value)
        reorders = bool(one.stream.codec_context.has_b_frames)
        by_decoder = reorders and (timeless or kind not in _TIMED)
        promised = _promised(one, kind)
        scan = _scan(one, by_decoder, pulse)
        if reorders and not by_decoder and not _orderly(scan):
            by_decoder = True
            with opened(source) as again:
                scan = _scan(again, by_decoder, pulse)
        made = _made(source, one, scan, kind, by_decoder, promised, timeless, fps)
        return replace(made, version=one.file.version if one.file else local_version(source))


def _kind(one: Opened) -> str:
    """FFmpeg's name of the container, the first where it has several."""
    name: str = one.container.format.name
    return name.partition(",")[0]


def _scan(one: Opened, by_decoder: bool, pulse: Pulse) -> _Scan:
    scan = _Scan()
    # A picture that ends before the sound is none that was cut off: where only a length in seconds is told,
    # all streams count.
    others = scan.reach if _kind(one) in _TELLS_LENGTH and len(one.container.streams) > 1 else None
    for packet in packets(one, pulse, others):
        scan.take(packet)
        if by_decoder or scan.first is None:
            scan.took(decoded(one, packet, len(scan.pts) - 1, pulse))
            if one.file is not None and scan.first is not None and not by_decoder and _by_table(one):
                skip_payload(one.file)
    if by_decoder or scan.first is None:
        scan.took(flushed(one, pulse))
    return scan


def _by_table(one: Opened) -> bool:
    """Whether the demuxer believes an MP4's table of packets and does not look into them."""
    return _kind(one) == "mov" and one.stream.codec_context.codec.name in _BY_TABLE


def _orderly(scan: _Scan) -> bool:
    """Whether each packet has a time of its own. Two frames of one PES packet of a transport stream have
    not.
    """
    pts, dts = np.frombuffer(scan.pts, np.int64), np.frombuffer(scan.dts, np.int64)
    return bool((pts != UNKNOWN).all() and len(np.unique(np.column_stack([pts, dts]), axis=0)) == len(pts))


def _made(
    source: str,
    one: Opened,
    scan: _Scan,
    kind: str,
    by_decoder: bool,
    promised: int,
    timeless: bool,
    fps: float | None,
) -> Index:
    name = redacted(source)
    time_base = one.stream.time_base or Fraction(1, 1000)
    if not len(scan.pts):
        raise ReidError(f"video {name} holds no frame: copy it again")
    if scan.first is None:
        raise ReidError(f"video {name}: no frame of it decodes; it is damaged, copy it again")
    if not by_decoder and not _visible(scan).any():
        raise ReidError(f"video {name} holds no whole frame: it is cut off in its first; copy it again")
    stated = (one.stream.guessed_rate, one.stream.average_rate, one.stream.codec_context.framerate)
    notes = [one.note] if one.note else []
    if timeless:
        rate = fps or float(one.stream.guessed_rate or 25)
        place = _places(scan) if by_decoder else np.flatnonzero(_visible(scan))
        times_s = np.arange(len(place)) / rate
        notes.append(
            f"video {name} has no times: {rate:g} frames a second are taken, from "
            f"{'the job' if fps else 'the stream'}"
        )
    elif by_decoder or (kind not in _TIMED):
        place = _places(scan) if by_decoder else np.flatnonzero(_visible(scan))
        times_s = _evened(scan, np.sort(place), time_base, float(one.stream.guessed_rate or 25))
    else:
        place, times_s = _by_time(scan, time_base)
    times_s = times_s - times_s[0]
    if len(gaps := gaps_in(times_s)):
        notes.append(f"video {name} has {in_words(gaps)}: nothing was recorded there, or it was lost")
    aspect = one.stream.sample_aspect_ratio
    return Index(
        times_s,
        place.astype(np.int32),
        _keys(scan, place, _flags_keys(one, scan)),
        (fps or rate) if timeless else frame_rate(times_s, stated),
        shown_size(scan.first, float(aspect) if aspect else 1.0),
        _recorded(one.container.metadata | one.stream.metadata),
        timeless or kind in ("mpegts", "mpeg"),
        _problem(name, one, scan, kind, promised, len(place) if by_decoder else None),
        tuple(notes),
        packet_size=np.frombuffer(scan.sizes, np.int32)[place],
    )


def _visible(scan: _Scan) -> npt.NDArray[np.bool_]:
    """Which packets are to be shown: not those that an edit list hides, nor those before the first from which
    decoding can begin.
    """
    visible = np.frombuffer(scan.hidden, np.int8) == 0
    visible[-1] &= not scan.torn
    first = int(scan.shown[0]) if len(scan.shown) else 0
    keys = [place for place, _, _ in scan.keys if place <= first]
    if keys and keys[0] > 0:
        visible[: keys[0]] = False  # a recording that was cut out of the middle
    return visible


def _places(scan: _Scan) -> Ints:
    """Packets in the order in which the decoder showed them, each once."""
    shown = np.frombuffer(scan.shown, np.int64)
    _, first = np.unique(shown, return_index=True)
    return np.asarray(shown[np.sort(first)])


def _by_time(scan: _Scan, time_base: Fraction) -> tuple[Ints, Floats]:
    times, part = continuous(np.frombuffer(scan.pts, np.int64), np.frombuffer(scan.dts, np.int64), time_base)
    order = display_order(times, part)
    order = order[_visible(scan)[order]]
    # Frames before the first that the decoder gives refer to what is not in the file. A key frame among them
    # is damaged, and missing.
    begin = int((order == scan.shown[0]).argmax())
    keys = np.isin(order[:begin], [place for place, _, _ in scan.keys])
    order = order[int(np.flatnonzero(keys)[0]) if keys.any() else begin :]
    return order, np.asarray(times[order] * float(time_base), np.float64)


def _evened(scan: _Scan, place: Ints, time_base: Fraction, rate: float) -> Floats:
    pts, dts = np.frombuffer(scan.pts, np.int64)[place], np.frombuffer(scan.dts, np.int64)[place]
    clock = np.where(dts == UNKNOWN, pts, dts)
    known = clock != UNKNOWN
    clock[known] = continuous(clock[known], clock[known], time_base)[0]
    return steady_times(clock, rate, time_base)


def _flags_keys(one: Opened, scan: _Scan) -> bool:
    codec = one.stream.codec_context.codec
    return codec.name in _FLAGGED or codec.intra_only or len(scan.keys) < len(scan.pts)


def _keys(scan: _Scan, place: Ints, sound: bool) -> Keys:
    # Nothing of what is flagged can be believed where every packet is, and the codec is none of single
    # pictures.
    believed = scan.keys if sound else scan.keys[:1]
    found = np.asarray(believed or [(0, -1, 0)], np.int64)
    frame = np.full(len(scan.pts), -1, np.int64)
    frame[place] = np.arange(len(place))
    # A hidden one leads to the frames behind it.
    behind = np.searchsorted(np.sort(place), found[:, 0])
    own = frame[found[:, 0]]
    clock = np.frombuffer(scan.dts, np.int64)[found[:, 0]]
    clock = np.where(clock == UNKNOWN, np.frombuffer(scan.pts, np.int64)[found[:, 0]], clock)
    return Keys(found[:, 0], np.where(own >= 0, own, behind), found[:, 1], found[:, 2], clock)


def _recorded(metadata: dict[str, str]) -> datetime | None:
    try:
        recorded = datetime.fromisoformat(metadata.get("creation_time", ""))
    except ValueError:
        return None
    return recorded if recorded.year > 1990 else None  # a clock that was never set


def _promised(one: Opened, kind: str) -> int:
    """How many packets the header announces; 0 where it says nothing."""
    # without what edit lists leave out
    entries = len(getattr(one.stream, "index_entries", ())) if kind == "mov" else 0
    return entries or int(one.stream.frames)


def _problem(name: str, one: Opened, scan: _Scan, kind: str, promised: int, shown: int | None) -> str:
    there = len(scan.pts) - scan.torn
    if kind == "avi" and (counted := np.frombuffer(scan.dts, np.int64)).max(initial=UNKNOWN) != UNKNOWN:
        # Its header counts the empty places of frames that were dropped, too, as its clock does.
        there = max(there, int(counted.max()) + 1 - scan.torn)
    if there < promised:
        return f"video {name} is cut off: {there} of {promised} frames are there"
    length_s = (one.container.duration or 0) / av.time_base if kind in _TELLS_LENGTH else 0.0
    if scan.end_s + _CUT_S < 0.99 * length_s:
        return f"video {name} is cut off: {scan.end_s:.1f} of {length_s:.1f} s are there"
    if shown is not None and (lost := int(_visible(scan).sum()) - shown) > 0:
        return f"video {name} is damaged: {lost} of its {there} frames do not decode"
    return ""
