"""An exported file run as a user's machine will run it: each CPU runtime that is installed."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from reid.errors import ReidError
from reid.files import existing

__all__ = ["RUNNERS", "embed_onnxruntime", "embed_openvino", "installed_runners"]

Images = npt.NDArray[np.uint8]
Runner = Callable[[Path, Images], npt.NDArray[np.float32]]
_BATCH = 32


def embed_onnxruntime(path: Path | str, images: Images, batch: int = _BATCH) -> npt.NDArray[np.float32]:
    """Embed with ONNX Runtime on the CPU.

    Args:
        path: an ONNX file of this project.
        images: uint8 ``(N, height, width, 3)``, RGB, of the file's own size.
        batch: images a run.

    Returns:
        float32 ``(N, D)``.

    Raises:
        UsageError: the file does not exist.
        ReidError: ONNX Runtime cannot load or run it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            str(existing(path, "ONNX file")), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return _in_batches(lambda part: session.run(None, {name: part})[0], images, batch)
    except ReidError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base class other than this
        raise _failed(path, "ONNX Runtime", error) from error


def embed_openvino(path: Path | str, images: Images, batch: int = _BATCH) -> npt.NDArray[np.float32]:
    """Embed with OpenVINO on the CPU, in float32 where the file does not say otherwise; see
    ``embed_onnxruntime``.
    """
    import openvino

    try:
        # Without the hint OpenVINO computes in bfloat16 on processors that have it, whatever the file says.
        model = openvino.Core().compile_model(
            existing(path, "ONNX file"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return _in_batches(lambda part: model(part)[0].copy(), images, batch)
    except RuntimeError as error:
        raise _failed(path, "OpenVINO", error) from error


RUNNERS: dict[str, Runner] = {"onnxruntime": embed_onnxruntime, "openvino": embed_openvino}


def installed_runners() -> dict[str, Runner]:
    """Those of ``RUNNERS`` whose module is installed."""
    return {name: runner for name, runner in RUNNERS.items() if importlib.util.find_spec(name) is not None}


def _in_batches(run: Callable[[Images], Any], images: Images, batch: int) -> npt.NDArray[np.float32]:
    rows = [run(images[start : start + batch]) for start in range(0, len(images), batch)]
    return np.concatenate(rows)


def _failed(path: Path | str, runtime: str, error: Exception) -> ReidError:
    return ReidError(
        f"{path} does not run in {runtime}: {' '.join(str(error).split())[:400]}: export the model again"
    )
