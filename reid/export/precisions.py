"""One ONNX file a precision, each made from the float32 file, with as few layers left in float32 as its goal allows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.export.fallback import Fallback, leading, most_sensitive
from reid.export.half import convert_fp16
from reid.export.onnx import convolutions, read_onnx
from reid.export.parity import ParityReport, measure_parity
from reid.export.quantize import calibrate, quantize_int8
from reid.export.runners import embed_onnxruntime

__all__ = ["CONVERSIONS", "FILES", "GATED_BY", "to_fp16", "to_int8"]

Images = npt.NDArray[np.uint8]
FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}

# What a limit is held against. Behind the neck an embedding is what sets a person apart from the mean of all, and where that is
# little, int8 turns it far: a trained MobileNetV2 with 24 of its 52 convolutions in float32 still had one image of 400 at 0.981,
# at a mean of 0.998 and with mAP unharmed. So int8 answers for its mean cosine and for mAP; its lowest is reported.
GATED_BY = {"fp32": "lowest", "fp16": "lowest", "int8": "mean"}

_TUNING_IMAGES = 32
# Layers are chosen on training crops and the file is judged on others, so the goal lies this share of the way from the limit to 1.
_FP16_RESERVE = 0.75
_INT8_RESERVE = 0.6


def to_fp16(source: Path, path: Path, images: Images, limit: float) -> Fallback:
    """Write the float16 file; the first layers stay in float32 where ``limit`` wants it.

    Args:
        source: the float32 ONNX file.
        path: where to write.
        images: training crops, uint8 ``(N, height, width, 3)``.
        limit: least cosine to the float32 file, of the lowest image.
    """

    def convert(kept: Sequence[str]) -> None:
        convert_fp16(source, path, kept)

    return _converted(source, path, images, convert, leading, lambda parity: parity.lowest >= _between(limit, _FP16_RESERVE))


def to_int8(source: Path, path: Path, images: Images, limit: float) -> Fallback:
    """Write the int8 file; the most sensitive layers stay in float32 where ``limit`` wants it.

    Args:
        source: the float32 ONNX file.
        path: where to write.
        images: training crops to calibrate on and to choose layers with, uint8 ``(N, height, width, 3)``.
        limit: least cosine to the float32 file, of the mean.

    Raises:
        ReidError: there is no image.
    """
    ranges = calibrate(source, images)

    def convert(kept: Sequence[str]) -> None:
        quantize_int8(source, path, ranges, kept)

    # The median, not the mean that the gate asks for: among few tuning crops one odd image would have half of the layers kept back.
    return _converted(source, path, images, convert, most_sensitive, lambda parity: parity.median >= _between(limit, _INT8_RESERVE))


CONVERSIONS: dict[str, Callable[[Path, Path, Images, float], Fallback]] = {"fp16": to_fp16, "int8": to_int8}


def _converted(
    source: Path,
    path: Path,
    images: Images,
    convert: Callable[[Sequence[str]], None],
    strategy: Callable[..., Fallback],
    enough: Callable[[ParityReport], bool],
) -> Fallback:
    chosen = images[np.linspace(0, len(images) - 1, min(len(images), _TUNING_IMAGES)).astype(int)]
    names = [str(row) for row in range(len(chosen))]
    reference = embed_onnxruntime(source, chosen)
    written: list[tuple[str, ...]] = []

    def attempt(kept: Sequence[str]) -> ParityReport:
        convert(kept)
        written[:] = [tuple(kept)]
        return measure_parity(reference, embed_onnxruntime(path, chosen), names)

    fallback = strategy(convolutions(read_onnx(source)), attempt, enough)
    if written[0] != fallback.kept:
        convert(fallback.kept)
    return fallback


def _between(limit: float, reserve: float) -> float:
    return limit + reserve * (1 - limit)
