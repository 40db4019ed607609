"""ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from reid.card import InputSpec
from reid.errors import ReidError
from serving.runtime.embedder import CPU_BATCH
from serving.runtime.preprocess import Batch

__all__ = ["FAILURES", "OnnxSession"]

# The library's exceptions share no base class below Exception.
FAILURES = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


class OnnxSession:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, path: Path, spec: InputSpec, threads: int) -> None:
        """Open ``path``, for as many inferences side by side as there are ``threads``.

        Raises:
            ReidError: the file is truncated, not ONNX, uses an unsupported operator, or wants another input
                than ``spec`` says.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.at_once, self.batch = threads, CPU_BATCH
        options.log_severity_level = 4  # what fails is said in one line below
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except FAILURES as error:
            reason = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")
            raise ReidError(
                f"{path} cannot be opened by ONNX Runtime ({reason}): export the model again"
            ) from error
        self._path = path
        self._input = _checked_input(self._session, path, spec)
        first = self._session.get_inputs()[0].shape[0]
        self.fixed_batch: int | None = first if isinstance(first, int) else None
        self._output = self._session.get_outputs()[0].name

    def run(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Outputs (N, ...) of a batch of N images."""
        try:
            return self._session.run([self._output], {self._input: batch})[0]
        except FAILURES as error:
            reason = " ".join(str(error).split())
            raise ReidError(
                f"{self._path} fails on a batch of shape {batch.shape} ({reason}): export the model again"
            ) from error


def _checked_input(session: onnxruntime.InferenceSession, path: Path, spec: InputSpec) -> str:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ReidError(f"{path} has {len(inputs)} inputs: an embedder has one, the images")
    wanted = (spec.height, spec.width, 3) if spec.layout == "nhwc" else (3, spec.height, spec.width)
    shape = inputs[0].shape
    fits = len(shape) == 4 and all(
        not isinstance(size, int) or size == want for size, want in zip(shape[1:], wanted, strict=True)
    )
    if not fits or inputs[0].type != _TYPES[spec.dtype]:
        raise ReidError(
            f"{path} takes {inputs[0].type} of shape {shape} but its card says {spec.dtype} of shape "
            f"[N, {', '.join(map(str, wanted))}]: "
            "correct input in model.json or export the model again"
        )
    return inputs[0].name
