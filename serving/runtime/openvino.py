"""OpenVINO on the CPU; reads its own IR and ONNX."""

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import openvino.frontend

from reid.card import InputSpec
from reid.errors import ReidError
from serving.runtime.embedder import CPU_BATCH
from serving.runtime.network import Port
from serving.runtime.preprocess import Batch

__all__ = ["OpenVinoNetwork", "OpenVinoSession"]

_TYPES = {"uint8": openvino.Type.u8, "float32": openvino.Type.f32}


class OpenVinoSession:
    """An IR or ONNX file in OpenVINO."""

    def __init__(self, path: Path, spec: InputSpec, threads: int) -> None:
        """Open ``path`` (an ``.xml`` with its ``.bin`` beside it, or ``.onnx``), for as many inferences side
        by side as ``threads``.

        Raises:
            ReidError: the file is truncated or foreign, or wants another input than ``spec`` says.
        """
        self._path = path
        self.at_once, self.batch = threads, CPU_BATCH
        core = openvino.Core()
        model = _read(core, path)
        _check_input(model, path, spec)
        try:
            self.fixed_batch = _free_batch(model)
        except RuntimeError as error:
            raise _unopened(path, error) from error
        self._requests = _compiled(core, model, path, threads)

    def run(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Outputs (N, ...) of a batch of N images."""
        request = self._requests.get()
        try:
            # A copy: the request's own memory is written by whoever has it next.
            return np.array(request.infer([np.ascontiguousarray(batch)], share_inputs=True)[0])
        except RuntimeError as error:
            raise ReidError(
                f"{self._path} fails on a batch of shape {batch.shape} ({_reason(error)}): export the "
                "model again"
            ) from error
        finally:
            self._requests.put(request)


class OpenVinoNetwork:
    """An IR or ONNX file in OpenVINO with its tensors as they are; see ``serving.runtime.network.Network``.

    Args:
        path: ``.xml`` with its ``.bin`` beside it, or ``.onnx``.
        threads: inferences side by side.
        size: height and width of the pictures, where they are not the file's own.

    Raises:
        ReidError: it cannot be opened, or its operators are made for another size.
    """

    def __init__(self, path: Path, threads: int, size: tuple[int, int] | None = None) -> None:
        self.at_once = threads
        self._path = path
        core = openvino.Core()
        model = _read(core, path)
        if size is not None:
            try:
                batch = model.inputs[0].partial_shape[0]
                model.reshape({model.inputs[0]: openvino.PartialShape([batch, 3, *size])})
            except RuntimeError as error:
                raise _unopened(path, error) from error
        self.inputs, self.outputs = tuple(map(_port, model.inputs)), tuple(map(_port, model.outputs))
        self._requests = _compiled(core, model, path, threads)

    def run(self, feeds: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The outputs in the file's order."""
        request = self._requests.get()
        try:
            answers = request.infer([np.ascontiguousarray(one) for one in feeds], share_inputs=True)
            # Copies: the request's own memory is written by whoever has it next.
            return [np.array(answers[index]) for index in range(len(self.outputs))]
        except RuntimeError as error:
            shapes = ", ".join(str(value.shape) for value in feeds)
            raise ReidError(f"{self._path} fails on {shapes} ({_reason(error)}): export it again") from error
        finally:
            self._requests.put(request)

    def sized(self, height: int, width: int) -> "OpenVinoNetwork":
        """The network for pictures (N, 3, height, width); see ``Network.sized``."""
        return OpenVinoNetwork(self._path, self.at_once, (height, width))


def _read(core: openvino.Core, path: Path) -> openvino.Model:
    if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
        raise ReidError(
            f"{path.with_suffix('.bin')} is not there: an OpenVINO model is an .xml and a .bin, copy both"
        )
    try:
        if path.suffix == ".onnx":
            # Left to guess, OpenVINO offers a file that is no ONNX to every format it knows, and those print
            # their complaints.
            openvino.frontend.FrontEndManager().load_by_framework("onnx").load(str(path))
        return core.read_model(path)
    except openvino.frontend.GeneralFailure as error:
        raise _unopened(path, RuntimeError(str(error).strip().splitlines()[-1])) from error
    except RuntimeError as error:
        raise _unopened(path, error) from error


def _compiled(
    core: openvino.Core, model: openvino.Model, path: Path, threads: int
) -> "SimpleQueue[openvino.InferRequest]":
    """As many requests as there are threads, each to be taken by one caller at a time."""
    # f32 and not the processor's favourite: bf16 would move embeddings away from those the thresholds were
    # made with.
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    requests: SimpleQueue[openvino.InferRequest] = SimpleQueue()
    try:
        compiled = core.compile_model(model, "CPU", options)
        for _ in range(threads):
            requests.put(compiled.create_infer_request())
    except RuntimeError as error:
        raise _unopened(path, error) from error
    return requests


def _unopened(path: Path, error: RuntimeError) -> ReidError:
    return ReidError(f"{path} cannot be opened by OpenVINO ({_reason(error)}): export the model again")


def _port(port: Any) -> Port:
    """Of an input or output of a model."""
    kind = port.element_type
    name = port.any_name if port.names else "unnamed"
    shape = tuple(int(size.get_length()) if size.is_static else None for size in port.partial_shape)
    # bfloat16 and the like have no NumPy type
    dtype = kind.to_string() if kind.to_dtype() is None else np.dtype(kind.to_dtype()).name
    return Port(name, dtype, shape)


def _reason(error: RuntimeError) -> str:
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not line.startswith("Exception from")
    ]
    return lines[0] if lines else "no reason given"


def _check_input(model: openvino.Model, path: Path, spec: InputSpec) -> None:
    if len(model.inputs) != 1:
        raise ReidError(f"{path} has {len(model.inputs)} inputs: an embedder has one, the images")
    wanted = (spec.height, spec.width, 3) if spec.layout == "nhwc" else (3, spec.height, spec.width)
    shape = model.inputs[0].partial_shape
    if (
        not shape.compatible(openvino.PartialShape([-1, *wanted]))
        or model.inputs[0].element_type != _TYPES[spec.dtype]
    ):
        raise ReidError(
            f"{path} takes {model.inputs[0].element_type.to_string()} of shape {shape} but its card "
            f"says {spec.dtype} of shape "
            f"[N, {', '.join(map(str, wanted))}]: correct input in model.json or export the model again"
        )


def _free_batch(model: openvino.Model) -> int | None:
    """Make the batch size dynamic; return None, or the size the model insists on."""
    shape = model.inputs[0].partial_shape
    if shape[0].is_dynamic:
        return None
    size = int(shape[0].get_length())
    try:
        model.reshape(
            {model.inputs[0]: openvino.PartialShape([-1, *(dim.get_length() for dim in list(shape)[1:])])}
        )
    except RuntimeError:
        return size
    if model.outputs[0].partial_shape[0].is_dynamic:
        return None
    # A Reshape with the batch size written into it: the output would stay one row.
    model.reshape({model.inputs[0]: shape})
    return size
