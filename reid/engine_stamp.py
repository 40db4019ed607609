"""What a TensorRT engine is bound to: the JSON stamp beside a plan, and the GPU of this machine. Torch-free.

An engine fits one TensorRT version and the GPUs it was built for. The stamp says which; who loads a plan
compares first, because the libraries answer a foreign plan with a crash or with nothing.
"""

import hashlib
import importlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from reid.errors import ReidError
from reid.files import existing, read_json, sha256_of, write_json

__all__ = ["EngineStamp", "Gpu", "check_stamp", "current_gpu", "read_stamp", "stamp_path", "write_stamp"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gpu(_Frozen):
    """A device as the CUDA runtime names it. ``driver`` is CUDA's version number, such as 13000."""

    name: str
    compute_capability: str  # "SM86"
    driver: int


class EngineStamp(_Frozen):
    """Identity of an engine: ``targets`` are what one built ahead of time is for, ``gpu`` is where one was
    built on the device itself.
    """

    format: Literal[1] = 1
    module: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    onnx_sha256: str
    profile: tuple[int, int, int]  # images a batch: least, best, most
    workspace_mib: int
    optimization_level: int
    targets: tuple[str, ...] = ()
    gpu: Gpu | None = None
    plan_sha256: str = ""

    @property
    def key(self) -> str:
        """Equal keys mean that one engine can stand for the other: a hash of everything but the plan."""
        return hashlib.sha256(self.model_dump_json(exclude={"plan_sha256"}).encode()).hexdigest()[:32]


def stamp_path(plan: Path | str) -> Path:
    """``model.plan`` to ``model.plan.json``."""
    plan = Path(plan)
    return plan.with_name(plan.name + ".json")


def write_stamp(stamp: EngineStamp, plan: Path | str) -> None:
    """Write the stamp beside its plan."""
    write_json(stamp_path(plan), stamp.model_dump(mode="json"))


def read_stamp(plan: Path | str) -> EngineStamp:
    """Read the stamp of a plan and compare the plan's bytes with it.

    Raises:
        UsageError: the plan or its stamp does not exist.
        ReidError: the stamp is not valid, or the plan is not the one it was written for.
    """
    plan = existing(plan, "engine")
    path = stamp_path(plan)
    try:
        stamp = EngineStamp.model_validate(read_json(path, "engine stamp"))
    except ValidationError as error:
        first = error.errors()[0]
        raise ReidError(
            f"engine stamp {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}: build the engine again"
        ) from error
    if stamp.plan_sha256 != sha256_of(plan):
        raise ReidError(
            f"engine {plan} is not the file that its stamp was written for: build the engine again"
        )
    return stamp


def check_stamp(stamp: EngineStamp, plan: Path | str, *, version: str, onnx_sha256: str, gpu: Gpu) -> None:
    """Refuse an engine that this machine cannot run, before any library touches it.

    Args:
        stamp: of the plan.
        plan: for the message.
        version: of the installed ``stamp.module``.
        onnx_sha256: of the ONNX file that the engine should stand for.
        gpu: of this machine.

    Raises:
        ReidError: the engine belongs to another version, GPU or ONNX file; the message says which.
    """
    if stamp.version != version:
        raise ReidError(
            f"engine {plan} was built by {stamp.module} {stamp.version}, installed is {version}: build "
            "the engine again"
        )
    if stamp.onnx_sha256 != onnx_sha256:
        raise ReidError(
            f"engine {plan} was built from another ONNX file ({stamp.onnx_sha256[:12]}, not "
            f"{onnx_sha256[:12]}): build it again"
        )
    if stamp.gpu is not None and stamp.gpu != gpu:
        built = f"{stamp.gpu.name} {stamp.gpu.compute_capability}, driver {stamp.gpu.driver}"
        here = f"{gpu.name} {gpu.compute_capability}, driver {gpu.driver}"
        raise ReidError(
            f"engine {plan} was built on another GPU ({built}; this is {here}): build the engine here"
        )
    if stamp.gpu is None and gpu.compute_capability not in stamp.targets:
        raise ReidError(
            f"engine {plan} is for {', '.join(stamp.targets)}, this GPU is {gpu.compute_capability}: "
            "build it again with that target"
        )


def current_gpu() -> Gpu | None:
    """The first CUDA device, or None where there is no device, no driver or no ``cuda-bindings``.

    Asks the CUDA runtime, which answers with an error code where a TensorRT library would crash.
    """
    try:
        runtime = importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        return None
    error, count = runtime.cudaGetDeviceCount()
    if error != runtime.cudaError_t.cudaSuccess or count == 0:
        return None
    _, properties = runtime.cudaGetDeviceProperties(0)
    _, driver = runtime.cudaDriverGetVersion()
    return Gpu(
        name=properties.name.decode(),
        compute_capability=f"SM{properties.major}{properties.minor}",
        driver=driver,
    )
