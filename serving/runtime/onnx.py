"""ONNX Runtime: on the CPU, and for networks with several inputs and outputs on a GPU too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from reid.card import InputSpec
from reid.errors import ReidError
from serving.runtime.embedder import CPU_BATCH
from serving.runtime.network import Port
from serving.runtime.preprocess import Batch

__all__ = ["FAILURES", "OnnxNetwork", "OnnxSession"]

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
_CPU = "CPUExecutionProvider"
# By NumPy's names, where they differ from those in ``tensor(...)``.
_NUMPY = {"float": "float32", "double": "float64"}


class OnnxSession:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, path: Path, spec: InputSpec, threads: int) -> None:
        """Open ``path``, for as many inferences side by side as there are ``threads``.

        Raises:
            ReidError: the file is truncated, not ONNX, uses an unsupported operator, or wants another input
                than ``spec`` says.
        """
        self.at_once, self.batch = threads, CPU_BATCH
        self._session = _opened(path, path, _CPU, 1)
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


class OnnxNetwork:
    """An ONNX file in ONNX Runtime with its tensors as they are; see ``serving.runtime.network.Network``.

    Args:
        path: of the file.
        threads: inferences side by side.
        provider: which of ONNX Runtime's execution providers.
        within: threads of one inference.
        content: the file's bytes, where they are not those on disk.

    Raises:
        ReidError: it cannot be opened, or the provider does not work here.
    """

    def __init__(
        self, path: Path, threads: int, provider: str = _CPU, within: int = 1, content: bytes | None = None
    ) -> None:
        self.at_once = threads
        self._path = path
        self._provider = provider
        self._within = within
        self._session = _opened(content or path, path, provider, within)
        if provider not in self._session.get_providers():  # ONNX Runtime falls back to the CPU on its own
            raise ReidError(f"{path}: {provider} does not work here: check the driver and its libraries")
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))

    def run(self, feeds: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The outputs in the file's order."""
        try:
            answers: list[npt.NDArray[Any]] = self._session.run(
                None, {port.name: value for port, value in zip(self.inputs, feeds, strict=True)}
            )
        except FAILURES as error:
            shapes = ", ".join(str(value.shape) for value in feeds)
            raise ReidError(
                f"{self._path} fails on {shapes} ({' '.join(str(error).split())}): export it again"
            ) from error
        return answers

    def sized(self, height: int, width: int) -> "OnnxNetwork":
        """The network for pictures (N, 3, height, width); see ``Network.sized``."""
        if self.inputs[0].shape[2:] == (None, None):
            return self
        import onnx

        model = onnx.load(self._path)
        entry = next(one for one in model.graph.input if one.name == self.inputs[0].name)
        for axis, size in ((2, height), (3, width)):
            entry.type.tensor_type.shape.dim[axis].dim_value = size
        for output in model.graph.output:
            for axis in list(output.type.tensor_type.shape.dim)[1:]:
                axis.Clear()
        del model.graph.value_info[:]
        content = model.SerializeToString()
        return OnnxNetwork(self._path, self.at_once, self._provider, self._within, content)


def _opened(model: Path | bytes, path: Path, provider: str, within: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = within
    options.log_severity_level = 4  # what fails is said in one line below
    try:
        return onnxruntime.InferenceSession(model, options, providers=[provider])
    except FAILURES as error:
        reason = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")
        raise ReidError(
            f"{path} cannot be opened by ONNX Runtime ({reason}): export the model again"
        ) from error


def _port(value: onnxruntime.NodeArg) -> Port:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Port(value.name, _NUMPY.get(kind, kind), shape)


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
