"""TensorRT on a GPU: engines of ``tensorrt`` and ``tensorrt_rtx``, which have the same calls. Only ever run
through a stand-in so far.
"""

import importlib
import math
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.card import ModelCard
from reid.engine_stamp import check_stamp, current_gpu, read_stamp
from reid.errors import ReidError
from serving.runtime.network import Port
from serving.runtime.preprocess import Batch

__all__ = ["EngineNetwork", "EngineRunner", "open_engine"]

_DTYPES: dict[str, type[np.generic]] = {"UINT8": np.uint8, "FLOAT": np.float32, "HALF": np.float16}


def open_engine(path: Path, card: ModelCard, precision: str) -> "EngineRunner":
    """Open the engine of a model directory on this machine's GPU, after its stamp has been compared with
    everything it is bound to.

    Args:
        path: the plan, with its stamp beside it.
        card: of the model.
        precision: of the ONNX file that the engine stands for.

    Raises:
        ReidError: there is no GPU or TensorRT, the engine is for another GPU, version or ONNX file, or takes
            other images.
    """
    source = card.files.get(precision)
    runner = _opened(path, source.sha256 if source else "")
    if len(runner.outputs) != 1:
        raise ReidError(f"{path} has {len(runner.outputs)} outputs: an embedder has one, the embeddings")
    wanted = (card.input.height, card.input.width, 3)
    if (
        card.input.layout != "nhwc"
        or runner.image_shape != wanted
        or runner.input_dtype != np.dtype(card.input.dtype)
    ):
        raise ReidError(
            f"{path} takes {runner.input_dtype} (N, {runner.image_shape}), its card says otherwise: "
            "export the model again"
        )
    return runner


class EngineNetwork:
    """An engine with its tensors as they are; see ``serving.runtime.network.Network``.

    Raises:
        ReidError: as :func:`open_engine`; or the engine has several inputs.
    """

    at_once = 1

    def __init__(self, path: Path) -> None:
        self._path, self._runner = path, _opened(path, None)
        runner = self._runner
        batch = runner.most if runner.least == runner.most else None
        self.inputs: tuple[Port, ...] = (
            Port(runner.input, runner.input_dtype.name, (batch, *runner.image_shape)),
        )
        self.outputs = tuple(Port(name, "float32", (batch, *shape)) for name, shape in runner.outputs.items())

    def run(self, feeds: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The outputs in the engine's order, float32."""
        return self._runner.run_all(feeds[0])

    def sized(self, height: int, width: int) -> "EngineNetwork":
        """Never: an engine is built for one size.

        Raises:
            ReidError: always.
        """
        raise ReidError(f"{self._path} is built for pictures of {self._runner.image_shape}")


def _opened(path: Path, onnx_sha256: str | None) -> "EngineRunner":
    """The engine, after its stamp was compared with this machine, and with an ONNX file if one is named."""
    gpu = current_gpu()
    if gpu is None:
        raise ReidError(
            f"engine {path} needs a GPU, and there is none here: run the ONNX file in onnxruntime or openvino"
        )
    stamp = read_stamp(path)
    try:
        trt, cudart = importlib.import_module(stamp.module), importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError) as error:
        raise ReidError(
            f"engine {path} needs {stamp.module} and cuda-bindings ({error}): install them"
        ) from error
    sha256 = stamp.onnx_sha256 if onnx_sha256 is None else onnx_sha256
    check_stamp(stamp, path, version=trt.__version__, onnx_sha256=sha256, gpu=gpu)
    return EngineRunner(path.read_bytes(), trt, cudart, str(path))


class EngineRunner:
    """One engine with one execution context, one stream and one buffer for each of its tensors.

    Args:
        plan: the engine's bytes. Compare its stamp first: the library may crash on a foreign plan.
        trt: ``tensorrt`` or ``tensorrt_rtx``.
        cudart: ``cuda.bindings.runtime``.
        source: for messages.

    Attributes:
        input: its name.
        image_shape: one image, without the batch axis.
        input_dtype: of the images.
        outputs: by name, the shape of one image's row.
        least: images that one execution must be given.
        most: images that one execution takes.
        fixed_batch: None, as any number of images will do.
        at_once: 1, an execution has the GPU.
        batch: the most.

    Raises:
        ReidError: the engine cannot be opened, or does not have one input.
    """

    fixed_batch: int | None = None
    at_once = 1

    def __init__(self, plan: bytes, trt: ModuleType, cudart: ModuleType, source: str) -> None:
        self._cudart = cudart
        self._source = source
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ReidError(
                f"{source} cannot be opened by {trt.__name__} {trt.__version__}: build the engine again"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise ReidError(
                f"{source}: the GPU has no memory left for the engine: free some, or build it with a "
                "smaller profile"
            )
        self.input, names = self._tensor_names(trt)
        least, _, most = (tuple(shape) for shape in self._engine.get_tensor_profile_shape(self.input, 0))
        self.least, self.most = int(least[0]), int(most[0])
        self.batch = self.most
        self.image_shape = tuple(int(size) for size in most[1:])
        self.input_dtype = self._dtype(self.input)
        self._dtypes = {name: self._dtype(name) for name in names}
        self._set_batch(self.most)
        self.outputs = {
            name: tuple(int(size) for size in self._context.get_tensor_shape(name))[1:] for name in names
        }
        self._allocate()

    def run(self, batch: Batch) -> npt.NDArray[np.float32]:
        """The first output ``(N, ...)`` float32 of N images of the engine's own shape and type, any N."""
        return self.run_all(batch)[0]

    def run_all(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
        """All outputs, in the engine's order."""
        if batch.shape[1:] != self.image_shape or batch.dtype != self.input_dtype:
            raise ReidError(
                f"{self._source} takes {self.input_dtype} (N, {self.image_shape}), not {batch.dtype} "
                f"{batch.shape}"
            )
        outputs = [np.empty((len(batch), *shape), self._dtypes[name]) for name, shape in self.outputs.items()]
        for start in range(0, len(batch), self.most):
            chunk = np.ascontiguousarray(batch[start : start + self.most])
            for output, rows in zip(outputs, self._execute(chunk), strict=True):
                output[start : start + len(chunk)] = rows
        return [output.astype(np.float32, copy=False) for output in outputs]

    def _execute(self, chunk: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        count = len(chunk)
        if count < self.least:
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], self.least - count, axis=0)])
        found = [np.empty((len(chunk), *shape), self._dtypes[name]) for name, shape in self.outputs.items()]
        kind = self._cudart.cudaMemcpyKind
        copy = self._cudart.cudaMemcpyAsync
        self._set_batch(len(chunk))
        self._checked(
            copy(
                self._addresses[0], chunk.ctypes.data, chunk.nbytes, kind.cudaMemcpyHostToDevice, self._stream
            )
        )
        if not self._context.execute_async_v3(int(self._stream)):
            raise ReidError(f"{self._source} fails on a batch of {len(chunk)}: build the engine again")
        for rows, address in zip(found, self._addresses[1:], strict=True):
            self._checked(
                copy(rows.ctypes.data, address, rows.nbytes, kind.cudaMemcpyDeviceToHost, self._stream)
            )
        self._checked(self._cudart.cudaStreamSynchronize(self._stream))
        return [rows[:count] for rows in found]

    def _allocate(self) -> None:
        sizes = {self.input: self.most * math.prod(self.image_shape) * self.input_dtype.itemsize}
        for name, shape in self.outputs.items():
            sizes[name] = self.most * math.prod(shape) * self._dtypes[name].itemsize
        self._stream = self._checked(self._cudart.cudaStreamCreate())
        self._addresses: list[int] = []
        self._release = weakref.finalize(self, _free, self._cudart, self._addresses, self._stream)
        for name, size in sizes.items():
            self._addresses.append(int(self._checked(self._cudart.cudaMalloc(size))))
            if not self._context.set_tensor_address(name, self._addresses[-1]):
                raise ReidError(
                    f"{self._source} refuses a buffer for its tensor {name}: build the engine again"
                )

    def _set_batch(self, count: int) -> None:
        if not self._context.set_input_shape(self.input, (count, *self.image_shape)):
            raise ReidError(
                f"{self._source} refuses a batch of {count}: build the engine again with a profile "
                "that holds it"
            )

    def _tensor_names(self, trt: ModuleType) -> tuple[str, list[str]]:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1:
            raise ReidError(
                f"{self._source} has {len(inputs)} inputs ({', '.join(inputs)}): want one, the pictures"
            )
        return inputs[0], outputs

    def _dtype(self, name: str) -> np.dtype[Any]:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise ReidError(
                f"{self._source}: tensor {name} is {kind}, want {' or '.join(_DTYPES)}: build the "
                "engine from an exported ONNX"
            )
        return np.dtype(_DTYPES[kind])

    def _checked(self, answer: tuple[Any, ...]) -> Any:
        """The value of a CUDA call, whose first part is its error code."""
        error, *values = answer
        if error != self._cudart.cudaError_t.cudaSuccess:
            raise ReidError(
                f"{self._source}: CUDA answers {error.name}: free GPU memory or restart the process"
            )
        return values[0] if values else None


def _free(cudart: ModuleType, addresses: list[int], stream: Any) -> None:
    for address in addresses:
        cudart.cudaFree(address)
    cudart.cudaStreamDestroy(stream)
