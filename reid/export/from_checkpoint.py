"""A model directory from somebody else's checkpoint: the network as its publisher uses it, through the same
export, gate and self-test.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.data.synthetic.few import rendered_people
from reid.errors import UsageError
from reid.export import Limits, export_model
from reid.models.embedder import ModelSpec, build_model, save_model
from reid.models.published import PUBLISHED
from reid.self_test import LEAST_COSINE

__all__ = ["architecture_named", "export_checkpoint", "input_size"]

_EVERY = 2  # of the images every second is held out, and the others are calibrated on


def architecture_named(name: str) -> str:
    """The key of ``PUBLISHED`` for a name with or without its library.

    Raises:
        UsageError: there is none, or several libraries have a network of that name.
    """
    if name in PUBLISHED:
        return name
    found = [key for key in PUBLISHED if key.partition(":")[2] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"architecture {name!r} is one of several libraries: choose {' or '.join(found)}")
    raise UsageError(
        f"architecture {name!r} is unknown: choose one of "
        f"{', '.join(key.partition(':')[2] for key in PUBLISHED)}"
    )


def input_size(architecture: str, height: int | None = None, width: int | None = None) -> tuple[int, int]:
    """Height and width in pixels, as asked for, else the publisher's."""
    published = PUBLISHED[architecture_named(architecture)]
    return height or published.height, width or published.width


def export_checkpoint(
    checkpoint: Path | str,
    architecture: str,
    out: Path | str,
    *,
    height: int | None = None,
    width: int | None = None,
    images: npt.NDArray[np.uint8] | None = None,
    image_names: Sequence[str] = (),
    name: str = "",
    licence: str = "",
) -> dict[str, Any]:
    """Write a model directory that gives the embeddings of the checkpoint's own library.

    Args:
        checkpoint: a state dict or a training checkpoint; see ``reid.models.weights_file``.
        architecture: a key of ``PUBLISHED``, or its name within its library.
        out: the directory; one that is there is replaced.
        height: of the input in pixels; the publisher's where None.
        width: likewise.
        images: pictures of people like those that will be embedded, uint8 ``(N, height, width, 3)``, RGB.
            With them fp16 and int8 are
            made: every second one calibrates, the others hold the files against the network. Without them
                fp32 alone is made and
            held against the network on rendered people.
        image_names: N names for messages.
        name: for the card; the file's where empty.
        licence: of the weights, for the card.

    Returns:
        As ``export_model``.

    Raises:
        UsageError: the name is unknown or the file is missing.
        ReidError: the file is damaged, unsafe or of another network, or the export strays from it; nothing is
            written then.
    """
    backbone = architecture_named(architecture)
    height, width = input_size(backbone, height, width)
    spec = ModelSpec(
        backbone=backbone, weights=str(checkpoint), height=height, width=width, neck_feature="before_bn"
    )
    model = build_model(spec).eval()
    calibration, names = None, list(image_names)
    if images is None:
        crops = rendered_people(height, width)
    else:
        crops, calibration, names = images[::_EVERY], images[1::_EVERY], names[::_EVERY]
    with tempfile.TemporaryDirectory(prefix="reid-import-") as folder:
        own = Path(folder) / "model.safetensors"
        # Its bytes are the embedding space's identity: where the checkpoint lay is no part of that.
        save_model(model, dataclasses.replace(spec, weights="none"), own)
        return export_model(
            own,
            out,
            crops=crops,
            crop_names=names,
            calibration=calibration,
            precisions=("fp32",) if calibration is None else ("fp32", "fp16", "int8"),
            limits=Limits(LEAST_COSINE),
            provenance={"name": name or Path(checkpoint).name, "licence": licence},
        )
