"""OpenVINO on the CPU; reads its own IR and ONNX."""

from pathlib import Path
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt
import openvino
import openvino.frontend

from reid.card import InputSpec
from reid.errors import ReidError
from serving.runtime.embedder import CPU_BATCH
from serving.runtime.preprocess import Batch

__all__ = ["OpenVinoSession"]

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
        if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
            raise ReidError(
                f"{path.with_suffix('.bin')} is not there: an OpenVINO model is an .xml and a .bin, copy both"
            )
        core = openvino.Core()
        # f32 and not the processor's favourite: bf16 would move embeddings away from those the thresholds
        # were made with.
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.at_once, self.batch = threads, CPU_BATCH
        try:
            model = _read(core, path)
            _check_input(model, path, spec)
            self.fixed_batch = _free_batch(model)
            compiled = core.compile_model(model, "CPU", options)
            self._requests: SimpleQueue[openvino.InferRequest] = SimpleQueue()
            for _ in range(threads):
                self._requests.put(compiled.create_infer_request())
        except RuntimeError as error:
            raise ReidError(
                f"{path} cannot be opened by OpenVINO ({_reason(error)}): export the model again"
            ) from error

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


def _read(core: openvino.Core, path: Path) -> openvino.Model:
    if path.suffix == ".onnx":
        # Left to guess, OpenVINO offers a file that is no ONNX to every format it knows, and those print
        # their complaints.
        try:
            openvino.frontend.FrontEndManager().load_by_framework("onnx").load(str(path))
        except openvino.frontend.GeneralFailure as error:
            raise RuntimeError(str(error).strip().splitlines()[-1]) from error
    return core.read_model(path)


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
