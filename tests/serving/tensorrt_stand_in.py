"""A stand-in for TensorRT and CUDA that executes an ONNX file in ONNX Runtime at the addresses it is given.

"Device" memory is host memory that only the stand-in knows. It shows that the runner asks for the right
things in the right order; it says nothing about the numbers a GPU gives.
"""

import ctypes
import enum
from types import SimpleNamespace

import numpy as np
import onnxruntime


class cudaError_t(enum.IntEnum):  # noqa: N801  # the library's own name
    cudaSuccess = 0  # noqa: N815
    cudaErrorInvalidValue = 1  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815


class cudaMemcpyKind(enum.IntEnum):  # noqa: N801
    cudaMemcpyHostToDevice = 1  # noqa: N815
    cudaMemcpyDeviceToHost = 2  # noqa: N815


class Cudart:
    """``cuda.bindings.runtime``: allocations are remembered, and a copy outside of them is an error as on a
    device.
    """

    cudaError_t = cudaError_t  # noqa: N815
    cudaMemcpyKind = cudaMemcpyKind  # noqa: N815

    def __init__(self, memory: int = 1 << 30) -> None:
        self.memory = memory
        self.blocks: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.streams: set[int] = set()
        self.copies: list[tuple[str, int]] = []

    def cudaMalloc(self, size):
        if size > self.memory:
            return cudaError_t.cudaErrorMemoryAllocation, 0
        block = ctypes.create_string_buffer(size)
        address = ctypes.addressof(block)
        self.blocks[address] = block
        return cudaError_t.cudaSuccess, address

    def cudaFree(self, devPtr):
        del self.blocks[devPtr]
        return (cudaError_t.cudaSuccess,)

    def cudaStreamCreate(self):
        stream = 7000 + len(self.streams)
        self.streams.add(stream)
        return cudaError_t.cudaSuccess, stream

    def cudaStreamDestroy(self, stream):
        self.streams.remove(stream)
        return (cudaError_t.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        return (cudaError_t.cudaSuccess if stream in self.streams else cudaError_t.cudaErrorInvalidValue,)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        device = dst if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else src
        if stream not in self.streams or device not in self.blocks or count > len(self.blocks[device]):
            return (cudaError_t.cudaErrorInvalidValue,)
        ctypes.memmove(dst, src, count)
        self.copies.append((kind.name, count))
        return (cudaError_t.cudaSuccess,)


class IExecutionContext:
    def __init__(self, engine):
        self.engine = engine
        self.shape = None
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name, shape):
        least, _, most = self.engine.profile
        fits = (
            name == self.engine.input
            and len(shape) == len(most)
            and all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
        )
        if fits:
            self.shape = tuple(shape)
        return fits

    def get_tensor_shape(self, name):
        return self.shape if name == self.engine.input else (self.shape[0], *self.engine.outputs[name])

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return name in (self.engine.input, *self.engine.outputs)

    def execute_async_v3(self, stream_handle):
        if stream_handle not in self.engine.cudart.streams:
            return False
        dtype = np.dtype(np.uint8 if self.engine.bytes else np.float32)
        size = int(np.prod(self.shape)) * dtype.itemsize
        raw = (ctypes.c_uint8 * size).from_address(self.addresses[self.engine.input])
        pixels = np.frombuffer(raw, dtype).reshape(self.shape)
        answers = self.engine.session.run(list(self.engine.outputs), {self.engine.input: pixels})
        for name, rows in zip(self.engine.outputs, answers, strict=True):
            target = (ctypes.c_float * rows.size).from_address(self.addresses[name])
            np.ctypeslib.as_array(target)[:] = rows.ravel()
        self.engine.executed.append(self.shape[0])
        return True


class ICudaEngine:
    def __init__(self, plan, profile, cudart):
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        (entry,) = self.session.get_inputs()
        self.input, self.bytes = entry.name, entry.type == "tensor(uint8)"
        self.profile = [(batch, *entry.shape[1:]) for batch in profile]
        self.outputs = {one.name: tuple(one.shape[1:]) for one in self.session.get_outputs()}
        self.cudart = cudart
        self.executed: list[int] = []

    @property
    def num_io_tensors(self):
        return 1 + len(self.outputs)

    def get_tensor_name(self, index):
        return (self.input, *self.outputs)[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == self.input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType.UINT8 if name == self.input and self.bytes else DataType.FLOAT

    def get_tensor_profile_shape(self, name, profile_index):
        return self.profile if profile_index == 0 and name == self.input else None

    def create_execution_context(self, strategy=None):
        return IExecutionContext(self)


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    UINT8 = 5
    FLOAT = 0


class Logger:
    ERROR = 1

    def __init__(self, min_severity):
        self.min_severity = min_severity


def stand_in(profile: tuple[int, int, int], cudart: Cudart) -> SimpleNamespace:
    """A module like ``tensorrt`` whose plans are ONNX files."""
    engines: list[ICudaEngine] = []

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine):
            if serialized_engine[:4] == b"torn":
                return None
            engines.append(ICudaEngine(serialized_engine, profile, cudart))
            return engines[-1]

    return SimpleNamespace(
        __name__="stand_in",
        __version__="0",
        Runtime=Runtime,
        Logger=Logger,
        TensorIOMode=TensorIOMode,
        DataType=DataType,
        engines=engines,
    )
