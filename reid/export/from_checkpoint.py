"""A model directory from somebody else's checkpoint: the network as its publisher uses it, through the same
export, gate and self-test.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.data.synthetic.few import rendered_people
from reid.errors import UsageError
from reid.export import Limits, export_model
from reid.model_files import WEIGHTS
from reid.models.embedder import ModelSpec, build_model, save_model
from reid.models.published import OPEN_LIBRARIES, PUBLISHED, published, whole_network
from reid.self_test import LEAST_COSINE

__all__ = ["architecture_named", "export_checkpoint", "input_size"]

_EVERY = 2  # of the images every second is held out, and the others are calibrated on


def architecture_named(name: str, kept_head: Path | str | None = None) -> str:
    """The name by which ``reid.models.published`` knows an architecture.

    Args:
        name: with its library, which only torchreid's may lack.
        kept_head: the checkpoint, where the output of its classifier is the embedding.

    Raises:
        UsageError: there is none, or its head cannot be kept.
        ReidError: the checkpoint is damaged or has no classifier.
    """
    if name.partition(":")[0] in OPEN_LIBRARIES:
        return whole_network(name, kept_head)
    if kept_head is not None:
        raise UsageError(
            f"architecture {name} has its head as its library embeds with it: --keep-head is for timm: and "
            "torchvision:"
        )
    if name in PUBLISHED:
        return name
    if f"torchreid:{name}" in PUBLISHED:
        return f"torchreid:{name}"
    names = [key.removeprefix("torchreid:") for key in PUBLISHED]
    written = {one.lower(): one for one in names}
    typed = name.strip().lower()
    near = [one for one in (typed.replace(".", "_"),) if one in written] or get_close_matches(typed, written)
    meant = [written[one] for one in near]
    raise UsageError(
        f"architecture {name!r} is unknown: did you mean {' or '.join(meant)}?"
        if meant
        else f"architecture {name!r} is unknown: choose timm:NAME, torchvision:NAME or one of "
        f"{', '.join(names)}"
    )


def input_size(architecture: str, height: int | None = None, width: int | None = None) -> tuple[int, int]:
    """Height and width in pixels, as asked for, else the publisher's."""
    own = published(architecture_named(architecture))
    return height or own.height, width or own.width


def export_checkpoint(
    checkpoint: Path | str,
    architecture: str,
    out: Path | str,
    *,
    height: int | None = None,
    width: int | None = None,
    images: npt.NDArray[np.uint8] | None = None,
    image_names: Sequence[str] = (),
    keep_head: bool = False,
    name: str = "",
    licence: str = "",
) -> dict[str, Any]:
    """Write a model directory that gives the embeddings of the checkpoint's own library.

    Args:
        checkpoint: a state dict or a training checkpoint; see ``reid.models.weights_file``.
        architecture: see ``architecture_named``.
        out: the directory; one that is there is replaced.
        height: of the input in pixels; the publisher's where None.
        width: likewise.
        images: pictures of people like those that will be embedded, uint8 ``(N, height, width, 3)``, RGB.
            With them fp16 and int8 are
            made: every second one calibrates, the others hold the files against the network. Without them
                fp32 alone is made and held against the network on rendered people.
        image_names: N names for messages.
        keep_head: of a network of timm or torchvision: its classifier's output is the embedding.
        name: for the card; the file's where empty.
        licence: of the weights, for the card.

    Returns:
        As ``export_model``.

    Raises:
        UsageError: the name is unknown or the file is missing.
        ReidError: the file is damaged, unsafe or of another network, or the export strays from it; nothing is
            written then.
    """
    backbone = architecture_named(architecture, checkpoint if keep_head else None)
    height, width = input_size(architecture, height, width)
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
        own = Path(folder) / WEIGHTS
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
