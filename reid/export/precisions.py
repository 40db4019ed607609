"""One ONNX file a precision, each made from the float32 file, with as few layers left in float32 as its goal
allows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from reid.export.fallback import Fallback, leading, most_sensitive
from reid.export.half import convert_fp16
from reid.export.int8 import Int8File
from reid.export.onnx import convolutions, read_onnx
from reid.export.runners import embed_onnxruntime
from reid.parity import ParityReport, measure_parity

__all__ = ["CONVERSIONS", "FILES", "Conversion", "Fp16Conversion", "Int8Conversion"]

Images = npt.NDArray[np.uint8]
FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}

# Layers are chosen on training crops and the file is judged on others, so the goal lies this share of the way
# from the limit to 1.
_FP16_RESERVE = 0.75
_INT8_RESERVE = 0.1
_TUNING_IMAGES = 32
_SOLVING_IMAGES = 96  # of int8: twice as many win a thousandth of cosine for twice the time
FLOAT32_SHARE = 0.1  # of an int8 file's multiply-adds at most


class Conversion(Protocol):
    """How a file of lower precision is made from the float32 file and training crops."""

    def write(self, path: Path, limit: float) -> Fallback:
        """Write the file with as few layers in float32 as ``limit`` allows, a cosine to the float32 file."""
        ...

    def float32_share(self, kept: Sequence[str]) -> float | None:
        """The share of the multiply-adds that float32 calculates when these layers are kept; None where it
        was not counted.
        """
        ...


class _Tuned:
    """Candidates held against the float32 file on crops of the training people."""

    def __init__(self, source: Path, images: Images) -> None:
        self._layers = convolutions(read_onnx(source))
        self._images = images
        self._names = [str(row) for row in range(len(images))]
        self._reference = embed_onnxruntime(source, images)

    def best(
        self,
        path: Path,
        convert: Callable[[Sequence[str]], None],
        strategy: Callable[
            [Sequence[str], Callable[[Sequence[str]], ParityReport], Callable[[ParityReport], bool]], Fallback
        ],
        enough: Callable[[ParityReport], bool],
    ) -> Fallback:
        written: list[tuple[str, ...]] = []

        def attempt(kept: Sequence[str]) -> ParityReport:
            convert(kept)
            written[:] = [tuple(kept)]
            return measure_parity(self._reference, embed_onnxruntime(path, self._images), self._names)

        fallback = strategy(self._layers, attempt, enough)
        if written[0] != fallback.kept:
            convert(fallback.kept)
        return fallback


class Fp16Conversion(_Tuned):
    """Float16; the first layers stay in float32 where the limit, of the lowest image, wants it.

    Args:
        source: the float32 ONNX file.
        images: training crops, uint8 ``(N, height, width, 3)``.
    """

    def __init__(self, source: Path, images: Images) -> None:
        super().__init__(source, _spread(images, _TUNING_IMAGES))
        self._source = source

    def write(self, path: Path, limit: float) -> Fallback:
        """See ``Conversion.write``."""
        goal = _between(limit, _FP16_RESERVE)
        return self.best(
            path,
            lambda kept: convert_fp16(self._source, path, kept),
            leading,
            lambda parity: parity.lowest >= goal,
        )

    def float32_share(self, kept: Sequence[str]) -> None:
        """Not counted: no CPU runtime calculates faster in float16, so that layers in float32 cost
        nothing.
        """


class Int8Conversion(_Tuned):
    """Int8; the most sensitive layers stay in float32 where the limit, of the mean, wants it: a tenth of the
    multiply-adds at most.

    Args:
        source: the float32 ONNX file.
        images: training crops, uint8 ``(N, height, width, 3)``: three of four to solve the layers on, the
            rest to choose layers with.

    Raises:
        ReidError: there is no image, or most of the network is no convolution.
    """

    def __init__(self, source: Path, images: Images) -> None:
        tuning = np.arange(len(images)) % 4 == 3
        self._file = Int8File(source, _spread(images[~tuning], _SOLVING_IMAGES))
        left = self._file.float32_share(())
        if left > 0.5:
            raise ReidError(
                f"int8 is made of convolutions, and {left:.0%} of this network's multiply-adds are products "
                "of matrices: leave int8 out, or take fp16"
            )
        super().__init__(source, _spread(images[tuning] if tuning.any() else images, _TUNING_IMAGES))
        self._layers = self._file.layers

    def write(self, path: Path, limit: float) -> Fallback:
        """See ``Conversion.write``."""
        goal = _between(limit, _INT8_RESERVE)

        def strategy(
            layers: Sequence[str],
            attempt: Callable[[Sequence[str]], ParityReport],
            enough: Callable[[ParityReport], bool],
        ) -> Fallback:
            return most_sensitive(
                layers, attempt, enough, lambda kept: self.float32_share(kept) <= FLOAT32_SHARE
            )

        # The median, not the mean that the gate asks for: among few tuning crops one odd image would have
        # half of the layers kept back.
        return self.best(
            path, lambda kept: self._file.write(path, kept), strategy, lambda parity: parity.median >= goal
        )

    def float32_share(self, kept: Sequence[str]) -> float:
        """See ``Conversion.float32_share``."""
        return self._file.float32_share(kept)


CONVERSIONS: dict[str, Callable[[Path, Images], Conversion]] = {
    "fp16": Fp16Conversion,
    "int8": Int8Conversion,
}


def _spread(images: Images, most: int) -> Images:
    return images[np.linspace(0, len(images) - 1, min(len(images), most)).astype(int)]


def _between(limit: float, reserve: float) -> float:
    return limit + reserve * (1 - limit)
