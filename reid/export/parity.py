"""The parity gate: an exported file must give the answers of the trained model, image by image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from reid.errors import ReidError
from reid.files import existing

__all__ = ["ParityReport", "check_parity", "embed_onnx", "measure_parity"]

_WORST = 5


@dataclass(frozen=True)
class ParityReport:
    """Cosines between two runs of the same images. ``worst`` holds the images of lowest cosine, lowest first."""

    images: int
    lowest: float
    mean: float
    worst: tuple[tuple[str, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_parity(reference: npt.NDArray[np.floating], candidate: npt.NDArray[np.floating], names: Sequence[str]) -> ParityReport:
    """Compare embeddings row by row.

    Args:
        reference: ``(N, D)``, of the trained model.
        candidate: ``(N, D)``, of the file under test.
        names: N names of the images.

    Raises:
        ReidError: the shapes differ, or there is no image.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or len(names) != len(reference):
        raise ReidError(
            f"parity: embeddings are {reference.shape} and {candidate.shape} for {len(names)} names: want the same (N, D) twice"
        )
    if len(reference) == 0:
        raise ReidError("parity: there is no image to compare on: give held-out crops")
    a, b = reference.astype(np.float64), candidate.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.einsum("nd,nd->n", a, b) / norms
    # An embedding of zeros or NaN has no direction: that is no agreement at all.
    cosine = np.where(np.isfinite(cosine), np.clip(cosine, -1.0, 1.0), -1.0)
    order = np.argsort(cosine, kind="stable")[:_WORST]
    worst = tuple((str(names[i]), float(cosine[i])) for i in order)
    return ParityReport(images=len(cosine), lowest=float(cosine.min()), mean=float(cosine.mean()), worst=worst)


def check_parity(
    reference: npt.NDArray[np.floating], candidate: npt.NDArray[np.floating], limit: float, names: Sequence[str], file: str
) -> ParityReport:
    """``measure_parity``, and refuse a file that strays.

    Args:
        reference: ``(N, D)``.
        candidate: ``(N, D)``.
        limit: the lowest cosine that any one image may have.
        names: N names of the images.
        file: what is under test, for the message.

    Raises:
        ReidError: an image is below the limit; the message names the file and the worst images.
    """
    report = measure_parity(reference, candidate, names)
    if report.lowest < limit:
        worst = ", ".join(f"{name} {cosine:.5f}" for name, cosine in report.worst if cosine < limit)
        raise ReidError(f"{file} strays from the trained model: lowest cosine {report.lowest:.5f}, limit {limit}; worst images: {worst}")
    return report


def embed_onnx(path: Path | str, images: npt.NDArray[np.uint8], batch: int = 32, threads: int = 0) -> npt.NDArray[np.float32]:
    """Embed with ONNX Runtime on the CPU.

    Args:
        path: an ONNX file of this project.
        images: uint8 ``(N, height, width, 3)``, RGB, of the file's own size.
        batch: images a run.
        threads: of ONNX Runtime, 0 for its own choice.

    Returns:
        float32 ``(N, D)``.

    Raises:
        UsageError: the file does not exist.
        ReidError: ONNX Runtime cannot load or run it.
    """
    path = existing(path, "ONNX file")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        rows = [session.run(None, {name: images[start : start + batch]})[0] for start in range(0, len(images), batch)]
    except Exception as error:  # ONNX Runtime's exceptions share no base class other than this
        raise ReidError(f"{path} does not run in ONNX Runtime: {' '.join(str(error).split())[:400]}: export the model again") from error
    return np.concatenate(rows) if rows else np.zeros((0, session.get_outputs()[0].shape[1]), np.float32)
