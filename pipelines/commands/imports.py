"""The command ``reid models import``. Heavy imports are inside it, so that ``--help`` is fast."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reid.errors import ReidError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from serving.runtime import Said

__all__ = ["import_model"]

_MOST_IMAGES = 256  # half of them calibrate int8, and more make it no better


def import_model(
    file: Annotated[
        Path, typer.Argument(help="A checkpoint, an .onnx file, or an OpenVINO .xml.", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option("--out", help="The model directory to write.")],
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Of a checkpoint: the network's name, e.g. osnet_x1_0 (torchreid), fastreid:sbs_R50-ibn, "
            "oml:vits16, timm:NAME or torchvision:NAME."
        ),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(min=8, max=4096, help="Of the input in pixels; the publisher's if not given."),
    ] = None,
    width: Annotated[int | None, typer.Option(min=8, max=4096, help="Likewise.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of crops of people: fp16 and int8 files are made with them.")
    ] = None,
    keep_head: Annotated[
        bool,
        typer.Option(
            "--keep-head", help="Of timm:NAME and torchvision:NAME: embed with the classifier's output."
        ),
    ] = False,
    layout: Annotated[
        Literal["nchw", "nhwc"] | None, typer.Option(help="Of a file that is a model already.")
    ] = None,
    colour: Annotated[Literal["rgb", "bgr"] | None, typer.Option(help="Likewise.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Likewise: it is given (pixel * scale - mean) / std.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Likewise: three numbers, e.g. 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Likewise, e.g. 0.229,0.224,0.225.")] = None,
    name: Annotated[str, typer.Option(help="The model's name, for the card; the file's if not given.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights, for the card.")] = "",
) -> None:
    """Make a model directory from somebody else's checkpoint, ONNX file or OpenVINO model."""
    from reid.card import refuse_foreign
    from reid.text_files import is_there
    from serving.runtime import Said

    refuse_foreign(out)
    if is_there(file, "model file") and not file.is_file():
        raise UsageError(f"{file} is not a file: name a checkpoint, an .onnx file or an OpenVINO .xml")
    if file.suffix in (".onnx", ".xml"):
        if architecture is not None or images is not None or keep_head:
            raise UsageError(
                f"{file.name} is a model already: --architecture, --images and --keep-head are for "
                "checkpoints"
            )
        _import_ready(
            file,
            out,
            Said(height, width, layout, colour, scale, _three(mean, "--mean"), _three(std, "--std")),
            name,
            licence,
        )
    else:
        if any(value is not None for value in (layout, colour, scale, mean, std)):
            raise UsageError(
                "--layout, --colour, --scale, --mean and --std are for ONNX and OpenVINO files: an "
                "architecture has its own"
            )
        _import_checkpoint(file, out, architecture, height, width, images, keep_head, name, licence)
    typer.echo(f"model: {out}")


def _import_checkpoint(
    file: Path,
    out: Path,
    architecture: str | None,
    height: int | None,
    width: int | None,
    images: Path | None,
    keep_head: bool,
    name: str,
    licence: str,
) -> None:
    if architecture is None:
        raise UsageError(
            f"{file} is a checkpoint, which holds no network: name it with --architecture, e.g. "
            "--architecture osnet_x1_0"
        )
    try:
        import torch  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise UsageError(
            "reid models import of a checkpoint needs torch: pip install 'reid-pipeline[train]'"
        ) from error
    from pipelines.stage.console import working
    from reid.export.from_checkpoint import export_checkpoint, input_size

    height, width = input_size(architecture, height, width)
    pictures, names = _pictures(images, height, width) if images is not None else (None, [])
    with working("exporting"):
        report = export_checkpoint(
            file,
            architecture,
            out,
            height=height,
            width=width,
            images=pictures,
            image_names=names,
            keep_head=keep_head,
            name=name,
            licence=licence,
        )
    for precision, made in report["files"].items():
        typer.echo(
            f"{precision}: {made['path']}, lowest cosine {made['lowest']:.5f} to the checkpoint's "
            f"network (limit {made['limit']})"
        )
    for precision, reason in report["left_out"].items():
        typer.echo(f"{precision} is left out: {reason}")
    if images is None:
        typer.echo("fp16 and int8 are made where --images DIR names crops of people to calibrate them on")


def _pictures(folder: Path, height: int, width: int) -> "tuple[npt.NDArray[np.uint8], list[str]]":
    from pipelines.export import spread
    from pipelines.stage.console import progress_bar
    from reid.data.datasets.files import find_images
    from reid.data.store import load_images

    if not folder.is_dir():
        raise UsageError(f"--images {folder} is no folder: name one with crops of people")
    paths = spread(find_images(folder).images, _MOST_IMAGES)
    if len(paths) < 2:
        raise ReidError(
            f"--images {folder} holds {len(paths)} pictures: int8 wants some hundred crops of people"
        )
    with progress_bar("decoding") as progress:
        return load_images(paths, height, width, progress=progress), [path.name for path in paths]


def _import_ready(file: Path, out: Path, said: "Said", name: str, licence: str) -> None:
    from pipelines.model.ready import import_ready

    card, lines = import_ready(file, out, said, name=name, licence=licence)
    for line in lines:
        typer.echo(line)
    typer.echo(f"embeddings of {card.dim} numbers")


def _three(text: str | None, option: str) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}: want three numbers, as in 0.485,0.456,0.406") from error
    return first, second, third
