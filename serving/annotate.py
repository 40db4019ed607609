"""Annotated video that plays inside a browser: VP8 in WebM, boxes with names drawn on the footage."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from reid.files import atomic_path
from serving.video import Frame

__all__ = ["Label", "annotate", "annotate_all", "colour_of", "join_webm", "webm_writer"]

_MILLISECONDS = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class Label:
    """A box xyxy in pixels of the footage and what is written on it; ``key`` decides the colour."""

    box: tuple[float, float, float, float]
    text: str
    key: str


class WebmWriter:
    """Encodes pictures of one size with their own times; the size is even, as 4:2:0 wants it."""

    def __init__(self, container: Any, stream: Any, width: int, height: int) -> None:
        self._container, self._stream = container, stream
        self.width, self.height = width, height
        self._last = -1

    def write(self, image: npt.NDArray[np.uint8], time_s: float) -> None:
        """Encode one picture (H, W, 3) uint8 BGR, shown from ``time_s`` on."""
        if image.shape[:2] != (self.height, self.width):
            image = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
        # Two pictures never share a time: WebM counts milliseconds.
        self._last = max(self._last + 1, round(time_s * 1000))
        frame.pts, frame.time_base = self._last, _MILLISECONDS
        self._container.mux(self._stream.encode(frame))

    def flush(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode())


@contextmanager
def webm_writer(path: Path, width: int, height: int, fps: float, threads: int = 1) -> Iterator[WebmWriter]:
    """A writer for ``path``; the file is there whole when the block ends without an error, and not at all otherwise."""
    width, height = max(2, width - width % 2), max(2, height - height % 2)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = _MILLISECONDS
        stream.codec_context.thread_count = threads
        # About 0.1 bit a pixel keeps boxes and letters clean; encoding fast matters more than small.
        stream.codec_context.bit_rate = int(max(100_000, 0.1 * width * height * min(fps, 30.0)))
        stream.codec_context.options = {"deadline": "realtime", "cpu-used": "16", "lag-in-frames": "0", "static-thresh": "100"}
        writer = WebmWriter(container, stream, width, height)
        yield writer
        writer.flush()


def annotate(image: npt.NDArray[np.uint8], labels: Iterable[Label], scale: float = 1.0) -> npt.NDArray[np.uint8]:
    """A frame scaled by ``scale``, with the boxes and their texts drawn on it; at scale 1 on the picture that is given."""
    if scale != 1.0:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for label in labels:
        colour = colour_of(label.key)
        x0, y0, x1, y1 = (round(value * scale) for value in label.box)
        cv2.rectangle(image, (x0, y0), (x1, y1), colour, 2)
        # OpenCV's letters are ASCII; other names are still right in the tables and in the report.
        text = label.text.encode("ascii", "replace").decode()
        (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
        top = max(y0 - height - base - 2, 0)
        cv2.rectangle(image, (x0, top), (x0 + width + 4, top + height + base + 2), colour, cv2.FILLED)
        cv2.putText(image, text, (x0 + 2, top + height + 1), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return image


def annotate_all(
    path: Path, frames: Iterable[Frame], labels: Callable[[int], Sequence[Label]], size: tuple[int, int], fps: float, max_height: int | None
) -> float | None:
    """Write an annotated video of ``frames``; return the time of its first frame in the footage, None when there is none.

    ``labels`` gives those of a frame number, asked in rising order; ``size`` is the footage's (width, height).
    """
    width, height = size
    scale = 1.0 if max_height is None else min(1.0, max_height / height)
    begin: float | None = None
    with webm_writer(path, round(width * scale), round(height * scale), fps) as writer:
        for frame in frames:
            begin = frame.time_s if begin is None else begin
            writer.write(annotate(frame.image, labels(frame.number), scale), frame.time_s - begin)
    return begin


def join_webm(path: Path, pieces: Sequence[tuple[Path, float]]) -> None:
    """Join videos of one encoder's settings without encoding them again; each with the time at which it begins, in seconds."""
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


def colour_of(key: str) -> tuple[int, int, int]:
    """A dark colour (BGR) that is always the same for a name; grey for ``unknown``."""
    if key == "unknown":
        return (96, 96, 96)
    hue = int.from_bytes(hashlib.sha256(key.encode()).digest()[:2], "big") % 180
    pixel = cv2.cvtColor(np.asarray([[[hue, 200, 170]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])
