"""A model file from outside, ONNX or OpenVINO IR: what can be seen of how it wants its pictures, and what
must be said. Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from reid.card import InputSpec, ModelCard, ModelFile
from reid.errors import ReidError, UsageError
from reid.files import existing
from serving.runtime.backends import BACKENDS
from serving.runtime.preprocess import prepare

__all__ = ["Pixels", "Said", "describe_file", "output_dim"]

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "u8": "uint8", "f32": "float32"}
_PROBE = ModelFile(path="probe")
_NOTES = ("mean_values", "scale_values", "reverse_input_channels")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Pixels:
    """What no shape tells: the file is given (pixel * scale - mean) / std, channels in this order."""

    colour: Literal["rgb", "bgr"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Said:
    """What the user says of a file; None is for the file to tell, or to be assumed."""

    height: int | None = None
    width: int | None = None
    layout: Literal["nhwc", "nchw"] | None = None
    colour: Literal["rgb", "bgr"] | None = None
    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def describe_file(path: Path, said: Said) -> tuple[InputSpec, tuple[str, ...]]:
    """How a file wants its pictures.

    Args:
        path: ``.onnx``, or ``.xml`` with its ``.bin`` beside it.
        said: goes before what the file tells.

    Returns:
        The input, and lines about what was recognised or assumed.

    Raises:
        UsageError: the file is missing, is no such file, or its size must be said.
        ReidError: it is damaged, its ``.bin`` is missing, or it is no embedder of pictures.
    """
    path = existing(path, "model")
    if path.suffix not in (".onnx", ".xml"):
        raise UsageError(
            f"model {path} is neither .onnx nor .xml (OpenVINO): a checkpoint needs --architecture NAME"
        )
    shape, kind, noted = _onnx_input(path) if path.suffix == ".onnx" else _openvino_input(path)
    if kind not in _DTYPES:
        raise ReidError(
            f"{path} takes {kind}: want float32 or uint8 at the input; export it again with its input "
            "left in float32"
        )
    layout, height, width = _layout(path, shape, said)
    lines = [f"{path.name}: {kind} {_dims(shape)}, {layout.upper()}, {height}x{width}"]
    dtype = _DTYPES[kind]
    pixels, line = _pixels(noted, dtype, said)
    lines.append(line)
    spec = InputSpec(
        height=height,
        width=width,
        layout=layout,
        dtype=dtype,  # type: ignore[arg-type]  # one of the two values of _DTYPES
        colour=pixels.colour,
        scale=pixels.scale,
        mean=pixels.mean,
        std=pixels.std,
    )
    return spec, tuple(lines)


def output_dim(path: Path, spec: InputSpec) -> int:
    """D of the embeddings (N, D) that a file gives; found by running it on a grey picture.

    Raises:
        ReidError: it cannot be run, or gives something else than one row a picture.
    """
    runtime = BACKENDS["onnxruntime" if path.suffix == ".onnx" else "openvino"]
    card = ModelCard(name=path.name, dim=1, input=spec, files={"fp32": _PROBE})
    session = runtime.open(path, card, "fp32", 1)
    grey = np.full((spec.height, spec.width, 3), 128, np.uint8)
    output = session.run(prepare([grey] * (session.fixed_batch or 1), spec))
    if (
        output.ndim < 2
        or len(output) != (session.fixed_batch or 1)
        or any(size != 1 for size in output.shape[2:])
    ):
        raise ReidError(
            f"{path} gives {_dims(output.shape)} for a picture: an embedder gives one row of numbers; "
            "a detector is named in a job, under detector.model"
        )
    return int(output.shape[1])


def _onnx_input(path: Path) -> tuple[list[int | None], str, dict[str, str]]:
    import onnxruntime

    from serving.runtime.onnx import FAILURES

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is said in one line below
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except FAILURES as error:
        reason = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")
        raise ReidError(
            f"{path} cannot be opened by ONNX Runtime ({reason}): fetch or export it again"
        ) from error
    inputs = session.get_inputs()
    _one_input(path, [one.name for one in inputs])
    return [size if isinstance(size, int) else None for size in inputs[0].shape], inputs[0].type, {}


def _openvino_input(path: Path) -> tuple[list[int | None], str, dict[str, str]]:
    """Shape and type of the input, and what OpenVINO's converter noted where it was told to put the
    normalisation inside.
    """
    if not path.with_suffix(".bin").is_file():
        raise ReidError(
            f"{path.with_suffix('.bin')} is not there: an OpenVINO model is an .xml and a .bin, copy both"
        )
    try:
        import openvino
    except ImportError as error:
        raise UsageError(f"{path} needs OpenVINO: install the extra openvino") from error
    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        reason = [
            line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")
        ]
        raise ReidError(
            f"{path} cannot be opened by OpenVINO ({' '.join(reason)[:200]}): fetch both files again"
        ) from error
    _one_input(path, [one.any_name if one.names else "unnamed" for one in model.inputs])
    shape = [int(size.get_length()) if size.is_static else None for size in model.inputs[0].partial_shape]
    places = {key: ["conversion_parameters", key] for key in _NOTES}
    noted = {
        key: str(model.get_rt_info(place).value) for key, place in places.items() if model.has_rt_info(place)
    }
    return shape, model.inputs[0].element_type.to_string(), noted


def _one_input(path: Path, names: Sequence[str]) -> None:
    if len(names) != 1:
        raise ReidError(
            f"{path} has {len(names)} inputs ({', '.join(names)}): an embedder has one, the pictures"
        )


def _layout(path: Path, shape: Sequence[int | None], said: Said) -> tuple[Literal["nhwc", "nchw"], int, int]:
    if len(shape) != 4:
        raise ReidError(
            f"{path} takes {_dims(shape)}: an embedder takes pictures, [N, 3, height, width] or [N, "
            "height, width, 3]"
        )
    fitting: list[Literal["nhwc", "nchw"]] = []
    if shape[1] in (3, None):
        fitting.append("nchw")
    if shape[3] in (3, None):
        fitting.append("nhwc")
    if said.layout is not None:
        fitting = [one for one in fitting if one == said.layout]
    if not fitting:
        raise ReidError(
            f"{path} takes {_dims(shape)}: that is not {said.layout or 'a picture of three colours'}"
        )
    # Where all is open, as most exporters write.
    layout = fitting[0]
    sizes = shape[2:] if layout == "nchw" else shape[1:3]
    height, width = (own or wanted for own, wanted in zip(sizes, (said.height, said.width), strict=True))
    if height is None or width is None:
        raise UsageError(
            f"{path} takes pictures of any size: say which it was trained on, e.g. --height 256 --width 128"
        )
    for own, wanted, side in ((height, said.height, "height"), (width, said.width, "width")):
        if wanted is not None and wanted != own:
            raise UsageError(f"{path} takes a {side} of {own}, not {wanted}: leave --{side} out")
    return layout, height, width


def _pixels(noted: dict[str, str], dtype: str, said: Said) -> tuple[Pixels, str]:
    identity = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    if dtype == "uint8":
        found, why = (
            Pixels("rgb", 1.0, *identity),
            "uint8: normalisation is inside the file; RGB is assumed (--colour bgr says otherwise)",
        )
    elif noted:
        found = Pixels("bgr" if noted.get("reverse_input_channels") == "True" else "rgb", 1.0, *identity)
        why = f"the file says that normalisation is inside: {found.colour.upper()}, 0 to 255"
    else:
        found = Pixels("rgb", 1 / 255, *_IMAGENET)
        why = (
            "the file does not say how pixels are normalised: RGB and ImageNet's mean and deviation "
            "are assumed, as torchreid has them"
        )
    if any(value is not None for value in (said.scale, said.mean, said.std)):
        mean, std = said.mean or identity[0], said.std or identity[1]
        found = Pixels(said.colour or found.colour, 1.0 if said.scale is None else said.scale, mean, std)
        return (
            found,
            (
                f"as said: {found.colour.upper()}, (pixel * {found.scale:g} - {list(found.mean)}) / "
                f"{list(found.std)}"
            ),
        )
    if said.colour is not None:
        found = Pixels(said.colour, found.scale, found.mean, found.std)
        why += f"; {said.colour.upper()} as said"
    return found, why


def _dims(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
