"""Annotated video that plays inside a browser: VP8 in WebM, boxes with names drawn on the footage.

Footage is nearly always 4:2:0 already, and so is what VP8 takes: boxes are drawn on those planes, for the way
to BGR and back costs half as much as the encoder.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType

from reid.files import atomic_path
from serving.video import Picture
from serving.video.pixels import is_plain, orientation, planes_of, upright

__all__ = ["Label", "annotate", "annotate_all", "canvas", "colour_of", "join_webm", "webm_writer"]

_MILLISECONDS = Fraction(1, 1000)
_FONT, _LETTERS = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_WHITE = 235  # luma; letters keep the colour of what they stand on


@dataclass(frozen=True, slots=True)
class Label:
    """A box xyxy in pixels of the footage and what is written on it; ``key`` decides the colour,
    and without one it is grey.
    """

    box: tuple[float, float, float, float]
    text: str
    key: str | None


class WebmWriter:
    """Encodes pictures of one size, 4:2:0, with their own times."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self._last = -1

    def write(self, frame: av.VideoFrame, time_s: float) -> None:
        """Encode one picture, shown from ``time_s`` on."""
        # Two pictures never share a time: WebM counts milliseconds.
        self._last = max(self._last + 1, round(time_s * 1000))
        frame.pts, frame.time_base = self._last, _MILLISECONDS
        frame.pict_type = PictureType.NONE  # a key frame of the footage need not be one here
        self._container.mux(self._stream.encode(frame))

    def flush(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode())


@contextmanager
def webm_writer(path: Path, width: int, height: int, fps: float, threads: int = 1) -> Iterator[WebmWriter]:
    """A writer for ``path``, of pictures of an even size; the file is there whole when the block ends without
    an error, else not at all.
    """
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = _MILLISECONDS
        stream.codec_context.thread_count = threads
        # About 0.1 bit a pixel keeps boxes and letters clean; encoding fast matters more than small.
        stream.codec_context.bit_rate = int(max(100_000, 0.1 * width * height * min(fps, 30.0)))
        stream.codec_context.options = {
            "deadline": "realtime",
            "cpu-used": "16",
            "lag-in-frames": "0",
            "static-thresh": "100",
        }
        writer = WebmWriter(container, stream)
        yield writer
        writer.flush()


def canvas(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """A decoded frame upright, in 4:2:0 of limited range and of an even size, to draw on; the frame itself
    where it is that already.
    """
    if not is_plain(frame) or orientation(frame) != (0, False):
        image = upright(frame)
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return av.VideoFrame.from_ndarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
    if (frame.width, frame.height) == (width, height):
        frame.make_writable()  # the decoder may still need what it gave
        return frame
    resized = av.VideoFrame(width, height, "yuv420p")
    for source, target in zip(planes_of(frame), planes_of(resized), strict=True):
        cv2.resize(source, target.shape[::-1], target, interpolation=cv2.INTER_AREA)
    return resized


def annotate(frame: av.VideoFrame, labels: Iterable[Label], scale: tuple[float, float] = (1.0, 1.0)) -> None:
    """Draw boxes and their texts on a picture of :func:`canvas`, whose width and height are ``scale`` times
    the footage's.
    """
    luma, *chroma = planes_of(frame)
    for label in labels:
        tone, *tints = _yuv(colour_of(label.key))
        x0, y0, x1, y1 = (round(value * by) for value, by in zip(label.box, (*scale, *scale), strict=True))
        # OpenCV's letters are ASCII; other names are still right in the tables and in the report.
        text = label.text.encode("ascii", "replace").decode()
        (width, height), base = cv2.getTextSize(text, _FONT, _LETTERS, 1)
        top = max(y0 - height - base - 2, 0)
        box, plate = (x0, y0, x1, y1), (x0, top, x0 + width + 4, top + height + base + 2)
        _rectangles(luma, box, plate, tone, 2)
        for plane, tint in zip(chroma, tints, strict=True):
            _rectangles(plane, tuple(v // 2 for v in box), tuple(v // 2 for v in plate), tint, 1)
        cv2.putText(luma, text, (x0 + 2, top + height + 1), _FONT, _LETTERS, _WHITE, 1, cv2.LINE_AA)


def _rectangles(
    plane: npt.NDArray[np.uint8], box: tuple[int, ...], plate: tuple[int, ...], value: int, thickness: int
) -> None:
    cv2.rectangle(plane, box[:2], box[2:], value, thickness)
    cv2.rectangle(plane, plate[:2], plate[2:], value, cv2.FILLED)


def annotate_all(
    path: Path,
    pictures: Iterable[Picture],
    labels: Callable[[int], Sequence[Label]],
    size: tuple[int, int],
    fps: float,
    max_height: int | None,
) -> float | None:
    """Write an annotated video of ``pictures``; return the time of its first frame in the footage, None when
    there is none.

    ``labels`` gives those of a frame number, asked in rising order; ``size`` is the footage's (width,
    height).
    """
    smaller = 1.0 if max_height is None else min(1.0, max_height / size[1])
    width, height = (max(2, round(side * smaller) // 2 * 2) for side in size)
    begin: float | None = None
    with webm_writer(path, width, height, fps) as writer:
        for picture in pictures:
            begin = picture.time_s if begin is None else begin
            frame = canvas(picture.frame, width, height)
            annotate(frame, labels(picture.number), (width / size[0], height / size[1]))
            writer.write(frame, picture.time_s - begin)
    return begin


def join_webm(path: Path, pieces: Sequence[tuple[Path, float]]) -> None:
    """Join videos of one encoder's settings without encoding them again; each with the time at which it
    begins, in seconds.
    """
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="webm") as whole:
        target: Any = None
        for piece, start_s in pieces:
            with av.open(str(piece)) as part:
                source = part.streams.video[0]
                target = target or whole.add_stream_from_template(source)
                shift = round((start_s - pieces[0][1]) / source.time_base)
                for packet in part.demux(source):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, target
                    whole.mux(packet)


@lru_cache(maxsize=1024)
def colour_of(key: str | None) -> tuple[int, int, int]:
    """A dark colour (BGR) that is always the same for a name; grey for None."""
    if key is None:
        return (96, 96, 96)
    hue = int.from_bytes(hashlib.sha256(key.encode()).digest()[:2], "big") % 180
    pixel = cv2.cvtColor(np.asarray([[[hue, 200, 170]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])


@lru_cache(maxsize=1024)
def _yuv(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    y, _, _, _, u, v = cv2.cvtColor(np.full((2, 2, 3), colour, np.uint8), cv2.COLOR_BGR2YUV_I420).ravel()
    return int(y), int(u), int(v)
