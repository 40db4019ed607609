"""Small footage for tests: striped people walk over a still, textured ground. Each person's stripes are
different.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, FPS = 320, 240, 10
PERSON = (24, 64)  # width, height
STRIPES = {
    "anna": [(40, 40, 220), (200, 40, 40), (40, 200, 40), (220, 220, 40)],
    "bert": [(30, 200, 200), (30, 30, 30), (220, 60, 200), (60, 60, 60)],
    "carl": [(230, 230, 230), (20, 20, 90), (20, 20, 90), (230, 230, 230)],
}


@dataclass(frozen=True)
class Walk:
    """Somebody walks on a straight line: feet at ``start`` in frame ``first`` (from 1), ``step`` pixels a
    frame, until ``last``.
    """

    name: str
    start: tuple[float, float]
    step: tuple[float, float]
    first: int
    last: int

    def box(self, frame: int) -> tuple[float, float, float, float] | None:
        if not self.first <= frame <= self.last:
            return None
        x = self.start[0] + self.step[0] * (frame - self.first)
        y = self.start[1] + self.step[1] * (frame - self.first)
        return x - PERSON[0] / 2, y - PERSON[1], x + PERSON[0] / 2, y


def background(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    noise = (
        np.random.default_rng(0)
        .integers(90, 150, (max(height // 8, 1), max(width // 8, 1), 3))
        .astype(np.uint8)
    )
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def person(name: str) -> np.ndarray:
    """(64, 24, 3) uint8 BGR."""
    image = np.zeros((PERSON[1], PERSON[0], 3), np.uint8)
    for part, colour in zip(np.array_split(np.arange(PERSON[1]), 4), STRIPES[name], strict=True):
        image[part] = colour
    return image


def draw(frame: int, walks: list[Walk]) -> np.ndarray:
    image = background()
    for walk in walks:
        box = walk.box(frame)
        if box is None:
            continue
        x, y = round(box[0]), round(box[1])
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + PERSON[0], WIDTH), min(y + PERSON[1], HEIGHT)
        if x0 < x1 and y0 < y1:
            image[y0:y1, x0:x1] = person(walk.name)[y0 - y : y1 - y, x0 - x : x1 - x]
    return image


def write_video(
    path: Path,
    images: list[np.ndarray],
    codec: str = "mpeg4",
    times_ms: list[int] | None = None,
    gop: int = 12,
) -> Path:
    """Write images; with ``times_ms`` each has its own time (the container must allow it)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.qmin, stream.codec_context.qmax = 1, 4
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_walks(path: Path, walks: list[Walk], frames: int) -> Path:
    return write_video(path, [draw(number, walks) for number in range(1, frames + 1)])


def write_truth(path: Path, walks: list[Walk], frames: int, ids: dict[str, int]) -> Path:
    lines = []
    for number in range(1, frames + 1):
        for walk in walks:
            box = walk.box(number)
            if box is not None:
                x0, y0, x1, y1 = box
                lines.append(f"{number},{ids[walk.name]},{x0},{y0},{x1 - x0},{y1 - y0},1,-1,-1,-1")
    path.write_text("\n".join(lines) + "\n")
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
