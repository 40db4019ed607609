"""TensorRT engines from ONNX files, through ``tensorrt`` (on the GPU itself) or ``tensorrt_rtx`` (ahead of
time, no GPU needed).
"""

import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from reid.engine_stamp import EngineStamp, current_gpu, read_stamp, stamp_path, write_stamp
from reid.errors import ReidError, UsageError
from reid.export.int8 import signed
from reid.export.onnx import read_onnx
from reid.files import atomic_path

__all__ = ["Module", "ProfileShapes", "build_engine", "import_tensorrt", "installed", "serialise_engine"]

Module = Literal["tensorrt", "tensorrt_rtx"]
ProfileShapes = Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]
_EXTRA = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
# CUDA says this at every step of a build without a driver; it is no cause of anything.
_NO_DRIVER = "cudaError 35"


def installed(module: Module) -> bool:
    """Whether the Python module is there to be imported."""
    return importlib.util.find_spec(module) is not None


def import_tensorrt(module: Module) -> ModuleType:
    """Import one of the two modules.

    Raises:
        UsageError: the name is neither.
        ReidError: it is not installed, or does not load.
    """
    if module not in get_args(Module):
        raise UsageError(
            f"TensorRT module {module!r} is unknown: choose one of {', '.join(get_args(Module))}"
        )
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise ReidError(
            f"{module} cannot be imported ({error}): install the extra [{_EXTRA[module]}]"
        ) from error


def build_engine(
    onnx_path: Path | str,
    plan_path: Path | str,
    *,
    profile: tuple[int, int, int] = (1, 8, 64),
    module: Module = "tensorrt_rtx",
    targets: Sequence[str] = ("SM75", "SM80", "SM86", "SM89", "SM120"),
    workspace_mib: int = 1024,
    optimization_level: int = 3,
    timing_cache: Path | None = None,
) -> EngineStamp:
    """Build an engine and write it with its stamp beside it; an engine that is there already with the same
    key is kept.

    Args:
        onnx_path: its one input has the batch as its only free axis. The precision is the file's own.
        plan_path: where to write; the stamp goes to ``stamp_path(plan_path)``.
        profile: images a batch: least, best, most.
        module: which TensorRT.
        targets: compute capabilities to build for. ``tensorrt_rtx`` needs them and no GPU; ``tensorrt``
            builds for the GPU here.
        workspace_mib: scratch memory that a kernel may use, in MiB.
        optimization_level: 0..5, the builder's effort.
        timing_cache: a file of kernel timings to start from and to add to; ``tensorrt_rtx`` keeps none.

    Raises:
        UsageError: the ONNX file is missing, or an argument makes no sense.
        ReidError: the module is missing, there is no GPU where one is needed, or the builder refuses: its own
            log lines follow.
    """
    model = read_onnx(onnx_path)
    trt = import_tensorrt(module)
    gpu = current_gpu() if module == "tensorrt" else None
    if module == "tensorrt" and gpu is None:
        raise ReidError(
            "tensorrt builds on the GPU that the engine is for, and there is none here: use "
            "tensorrt_rtx or build on that machine"
        )
    content = Path(onnx_path).read_bytes()
    stamp = EngineStamp(
        module=module,
        version=trt.__version__,
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        profile=profile,
        workspace_mib=workspace_mib,
        optimization_level=optimization_level,
        targets=() if gpu else tuple(targets),
        gpu=gpu,
    )
    if _is_current(plan_path, stamp):
        return read_stamp(plan_path)
    image = model.graph.input[0]
    size = tuple(axis.dim_value for axis in image.type.tensor_type.shape.dim)[1:]
    shapes = {image.name: tuple((batch, *size) for batch in profile)}
    plan = serialise_engine(
        trt,
        signed(model).SerializeToString(),
        shapes,  # type: ignore[arg-type]  # a tuple from a generator has no known length
        targets=stamp.targets,
        workspace_mib=workspace_mib,
        optimization_level=optimization_level,
        timing_cache=timing_cache,
        name=str(onnx_path),
    )
    stamp = stamp.model_copy(update={"plan_sha256": hashlib.sha256(plan).hexdigest()})
    with atomic_path(plan_path) as temporary:
        temporary.write_bytes(plan)
    write_stamp(stamp, plan_path)
    return stamp


def serialise_engine(
    trt: ModuleType,
    content: bytes,
    shapes: ProfileShapes,
    *,
    targets: Sequence[str] = (),
    workspace_mib: int = 1024,
    optimization_level: int = 3,
    timing_cache: Path | None = None,
    name: str = "the ONNX graph",
) -> bytes:
    """Build a plan from the bytes of an ONNX file.

    Args:
        trt: the module.
        content: of the ONNX file.
        shapes: one profile: for each input by name, its least, best and greatest shape.
        targets: names of the module's ``ComputeCapability``; empty leaves the choice to the module.
        workspace_mib: see ``build_engine``.
        optimization_level: see ``build_engine``.
        timing_cache: see ``build_engine``.
        name: of the graph, for messages.

    Raises:
        UsageError: a target is unknown to the module.
        ReidError: a step is refused. TensorRT raises nothing itself: it returns None, -1 or False and writes
            why to its log.
    """
    log = _log(trt)
    log.lines.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        raise ReidError(f"{trt.__name__} cannot parse {name}: {_parser_errors(parser)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.builder_optimization_level = optimization_level
    _set_targets(trt, config, targets, log, name)
    if shapes:
        _add_profile(builder, config, shapes, log, name)
    if timing_cache is not None:
        cache = config.create_timing_cache(timing_cache.read_bytes() if timing_cache.exists() else b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refused(log, name, "build an engine")
    if timing_cache is not None:
        with atomic_path(timing_cache) as temporary:
            temporary.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _is_current(plan_path: Path | str, wanted: EngineStamp) -> bool:
    if not (Path(plan_path).exists() and stamp_path(plan_path).exists()):
        return False
    try:
        return read_stamp(plan_path).key == wanted.key
    except ReidError:  # a torn stamp or plan: what it was is of no interest, it is built anew
        return False


def _set_targets(trt: ModuleType, config: Any, targets: Sequence[str], log: Any, name: str) -> None:
    if not targets:
        return
    known = [target for target in trt.ComputeCapability.__members__ if target not in ("NONE", "CURRENT")]
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if target not in known:
            raise UsageError(
                f"target {target} is unknown to {trt.__name__} {trt.__version__}: choose from "
                f"{', '.join(known)}"
            )
        if not config.set_compute_capability(trt.ComputeCapability.__members__[target], index):
            raise _refused(log, name, f"set the target {target}")


def _add_profile(builder: Any, config: Any, shapes: ProfileShapes, log: Any, name: str) -> None:
    profile = builder.create_optimization_profile()
    for input_name, (least, best, most) in shapes.items():
        try:
            profile.set_shape(input_name, tuple(least), tuple(best), tuple(most))
        except (RuntimeError, ValueError) as error:
            raise ReidError(
                f"{name}: the profile {least}, {best}, {most} of {input_name} is refused: "
                f"{_one_line(str(error))}"
            ) from error
    if config.add_optimization_profile(profile) < 0:
        raise _refused(log, name, f"accept the profile {dict(shapes)}")


@functools.cache
def _log(trt: ModuleType) -> Any:
    """The process's logger, which keeps warnings and errors in ``lines``: TensorRT ignores any but the first
    that it is given.
    """

    class Log(trt.ILogger):  # type: ignore[name-defined]  # the base class is known only once the module is
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.WARNING) and _NO_DRIVER not in message:
                self.lines.append(_one_line(message))

    return Log()


def _refused(log: Any, name: str, step: str) -> ReidError:
    reason = "; ".join(log.lines[-4:]) or "no reason was logged"
    return ReidError(f"{name}: TensorRT could not {step}: {reason[:900]}")


def _parser_errors(parser: Any) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    parts = [
        f"node {error.node_name()!r} ({error.node_operator()}): {_one_line(error.desc())}" for error in errors
    ]
    return "; ".join(parts)[:900] or "no reason was given"


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if _NO_DRIVER not in line)
