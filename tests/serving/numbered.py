"""Footage whose every frame carries its number: twelve large fields, black or white, that survive any codec,
rotation aside.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

_COLUMNS, _ROWS = 4, 3
_BITS = 10  # of the number; then its parity, and a field that is always white


def numbered(number: int, width: int = 320, height: int = 240) -> np.ndarray:
    """(H, W, 3) uint8 BGR."""
    bits = number | (number.bit_count() & 1) << _BITS | 1 << (_BITS + 1)
    image = np.empty((height, width, 3), np.uint8)
    for field in range(_COLUMNS * _ROWS):
        image[_field(field, width, height)] = 235 if bits >> field & 1 else 20
    return image


def number_of(image: np.ndarray) -> int:
    """The number in a picture; 0 where none can be read."""
    height, width = image.shape[:2]
    bits = 0
    for field in range(_COLUMNS * _ROWS):
        bits |= (float(image[_field(field, width, height, 0.25)].mean()) > 128) << field
    number = bits & ((1 << _BITS) - 1)
    return number if bits >> _BITS == (2 | number.bit_count() & 1) else 0


def _field(field: int, width: int, height: int, margin: float = 0.0) -> tuple[slice, slice]:
    row, column = divmod(field, _COLUMNS)
    y0, y1 = round((row + margin) * height / _ROWS), round((row + 1 - margin) * height / _ROWS)
    x0, x1 = round((column + margin) * width / _COLUMNS), round((column + 1 - margin) * width / _COLUMNS)
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


@contextmanager
def _usual_priority() -> Iterator[None]:
    """Started by root, SVT-AV1 leaves the thread that opened it in real time, and all that it starts later:
    other tests would starve.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def encode(
    path: Path,
    images: Sequence[np.ndarray],
    codec: str = "libx264",
    container: str | None = None,
    fps: int | Fraction = 10,
    pixels: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    header: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    **options: object,
) -> Path:
    """Write images (BGR) with a codec's own options, ``_`` for ``-`` in their names; ``header`` are the
    container's options.
    """
    with _usual_priority(), av.open(str(path), "w", format=container, options=header or {}) as out:
        stream: Any = out.add_stream(
            codec, rate=fps, options={key.replace("_", "-"): str(value) for key, value in options.items()}
        )
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pixels, threads=1)
            frame.pts = None
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
