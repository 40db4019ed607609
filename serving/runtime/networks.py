"""Which runtimes open a file as a network with tensors of its own, by the file's ending."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reid.engine_stamp import current_gpu
from reid.errors import UsageError
from serving.runtime.network import Network

__all__ = ["NETWORKS", "NetworkRuntime", "runtimes_for"]


@dataclass(frozen=True)
class NetworkRuntime:
    """A runtime: how it opens a file for so many inferences side by side, the endings it reads, whether this
    machine has it, and its name in the package index.
    """

    open: Callable[[Path, int], Network]
    endings: tuple[str, ...]
    present: Callable[[], bool]
    distribution: str


def _onnxruntime(path: Path, threads: int) -> Network:
    from serving.runtime.onnx import OnnxNetwork

    return OnnxNetwork(path, threads)


def _cuda(path: Path, threads: int) -> Network:
    from serving.runtime.onnx import OnnxNetwork

    return OnnxNetwork(path, threads, "CUDAExecutionProvider")


def _has_cuda() -> bool:
    if find_spec("onnxruntime") is None:
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _openvino(path: Path, threads: int) -> Network:
    from serving.runtime.openvino import OpenVinoNetwork

    return OpenVinoNetwork(path, threads)


def _tensorrt(path: Path, threads: int) -> Network:
    from serving.runtime.tensorrt import EngineNetwork

    return EngineNetwork(path)


# The first that can open a file is what "auto" holds the others against.
NETWORKS = {
    "onnxruntime": NetworkRuntime(
        _onnxruntime, (".onnx",), lambda: find_spec("onnxruntime") is not None, "onnxruntime"
    ),
    "openvino": NetworkRuntime(
        _openvino, (".onnx", ".xml"), lambda: find_spec("openvino") is not None, "openvino"
    ),
    "cuda": NetworkRuntime(_cuda, (".onnx",), _has_cuda, "onnxruntime-gpu"),
    "tensorrt": NetworkRuntime(_tensorrt, (".plan",), lambda: current_gpu() is not None, "tensorrt-rtx"),
}


def runtimes_for(path: Path) -> list[str]:
    """The runtimes of this machine that read such a file, the reference first.

    Raises:
        UsageError: none reads files of this ending, or this machine lacks those that do.
    """
    reading = [name for name, runtime in NETWORKS.items() if path.suffix.lower() in runtime.endings]
    if not reading:
        endings = sorted({ending for runtime in NETWORKS.values() for ending in runtime.endings})
        raise UsageError(f"{path} ends in none of {', '.join(endings)}: name a file that a runtime reads")
    present = [name for name in reading if NETWORKS[name].present()]
    if not present:
        lacks = "a GPU with cuda-bindings" if reading == ["tensorrt"] else f"the extra {reading[0]}"
        raise UsageError(f"{path} needs {lacks}, which this machine lacks: add it, or name an ONNX file")
    return present
