"""The self-test of a model directory: a few rendered pictures and the trained model's embeddings of them.
Torch-free.

A file that was right where it was exported may be wrong on another processor or in another version of a
runtime. Whoever opens it there runs the pictures and compares.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from reid.embeddings import cosines
from reid.errors import ReidError
from reid.files import atomic_path

__all__ = ["LEAST_COSINE", "SELF_TEST_NAME", "TOLERANCE", "SelfTest", "read_self_test", "write_self_test"]

SELF_TEST_NAME = "self_test.safetensors"
# What a precision may cost an embedding, as cosine: summing in another order costs less than this. One
# measured elsewhere may be so far below the lowest that the export measured.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-3, "int8": 1e-2}
# How alike embeddings of one image must be: by a file and by the trained model, or by two runtimes.
LEAST_COSINE = {precision: 1 - tolerance for precision, tolerance in TOLERANCE.items()}


@dataclass(frozen=True)
class SelfTest:
    """Pictures uint8 ``(N, height, width, 3)``, RGB, and the trained model's embeddings float32 ``(N,
    D)``.
    """

    images: npt.NDArray[np.uint8]
    embeddings: npt.NDArray[np.float32]

    def cosines(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """``(N,)``, of a file's embeddings to the trained model's; -1 for one without a direction."""
        return cosines(embeddings, self.embeddings)


def write_self_test(test: SelfTest, path: Path) -> None:
    """Write a self-test, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(save({"images": test.images, "embeddings": test.embeddings}))


def read_self_test(path: Path) -> SelfTest:
    """Read what ``write_self_test`` wrote.

    Raises:
        ReidError: the file is missing, torn or of another shape.
    """
    try:
        tensors = load_file(path)
        images, embeddings = tensors["images"], tensors["embeddings"]
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ReidError(f"self-test {path} cannot be read ({error}): export the model again") from error
    wrong = images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) == 0
    if wrong or embeddings.dtype != np.float32 or embeddings.ndim != 2 or len(embeddings) != len(images):
        raise ReidError(
            f"self-test {path} holds {images.dtype} {images.shape} and {embeddings.shape}: export the "
            "model again"
        )
    return SelfTest(images, embeddings)
