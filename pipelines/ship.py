"""``python -m pipelines.ship PROJECT OUT``: the model that comes with the package, of a project that has
trained and exported it: its float32 file with weights stored in half precision, what a training that goes on
from it needs besides, its card and its self-test. ``make ready-model`` calls it.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from pipelines.group_figures import PEOPLE, group_figures
from pipelines.stage.console import run_stage, say
from pipelines.stage.places import CATALOG, EXPORTED
from reid.card import ModelFile, load_card, save_card
from reid.data.catalog import read_catalog
from reid.data.store import load_images
from reid.errors import ReidError, UsageError
from reid.export.half import store_half
from reid.export.precisions import FILES
from reid.files import atomic_directory, sha256_of
from reid.models.backbones import build_backbone
from reid.models.embedder import normalise
from reid.models.folded import folded_statistics
from reid.self_test import LEAST_COSINE, read_self_test
from reid.shipped import READY, STATISTICS
from serving.runtime import BACKENDS, Embedder

__all__ = ["MOST_BYTES", "ship", "training_crops"]

_CROPS = 2048  # whose statistics a training goes on from
_BATCH = 64
MOST_BYTES = 6_000_000  # of the whole directory
_LEFT_OUT = "the package carries one file: `make ready-model` exports the others"
_LICENCE = "MIT; trained on rendered people alone, from ImageNet weights"
_ABOUT = (
    "Tells people apart whom a camera sees from the street or the hall, small or large, by day or in light. "
    "Trained on rendered adults in everyday clothes, no real picture among them. Measured on real people, "
    "each camera asking the other, one way / the other: 50 of PKU-Reid, rank-1 0.775 / 0.782, mAP 0.615 / "
    "0.627; 100 of CUHK03, rank-1 0.319 / 0.324, mAP 0.285 / 0.296; the renderer was tuned beside pictures "
    "of both. Not seen in training, not measured and not to be relied on: children, the old, wheelchairs, "
    "uniforms, night, crowds. More in docs/ready_model.md of the project's repository"
)


def ship(exported: Path, crops: npt.NDArray[np.uint8], out: Path, people: int = PEOPLE) -> int:
    """Write the directory, whole or not at all.

    Args:
        exported: of the stage ``export``.
        crops: uint8 ``(N, H, W, 3)``, RGB, of its training.
        out: an earlier model there is replaced.
        people: rendered, whom its figures by group are measured on.

    Returns:
        Its size in bytes.

    Raises:
        UsageError: ``exported`` is missing.
        ReidError: it has no float32 file or self-test, the halved weights stray, the network is none that a
            training can go on from, or the result is too large.
    """
    card = load_card(exported)
    if "fp32" not in card.files or card.self_test is None:
        raise ReidError(f"{exported} has no float32 file or no self-test: export the model again")
    own = exported / card.self_test.path
    test = read_self_test(own)
    with atomic_directory(out) as folder:
        model = folder / FILES["fp32"]
        store_half(exported / card.files["fp32"].path, model)
        session = BACKENDS["onnxruntime"].open(model, card, "fp32", 1)
        embedder = Embedder(session, card, "onnxruntime", "fp32", str(model))
        lowest = float(test.cosines(embedder(test.images)).min())
        if lowest < LEAST_COSINE["fp32"]:
            raise ReidError(
                f"with weights in half precision an embedding has a cosine of {lowest:.5f} to its own: "
                "train longer, or with more weight decay"
            )
        backbone, _ = build_backbone(card.backbone, "none", 1)
        statistics = folded_statistics(model, backbone, _normalised(crops))
        (folder / STATISTICS).write_bytes(save(statistics))
        shutil.copyfile(own, folder / card.self_test.path)
        save_card(
            card.model_copy(
                update={
                    "name": READY,
                    "files": {"fp32": ModelFile(path=model.name, sha256=sha256_of(model))},
                    "left_out": dict.fromkeys(("fp16", "int8"), _LEFT_OUT),
                    "self_test": card.self_test.model_copy(update={"lowest": {"fp32": lowest}}),
                    "licence": _LICENCE,
                    "about": _ABOUT,
                    "mlflow_run_id": "",
                    "by_group": group_figures(embedder, people),
                }
            ),
            folder,
        )
        size = sum(file.stat().st_size for file in folder.iterdir())
        if size > MOST_BYTES:
            raise ReidError(
                f"the model has {size:,} bytes, more than the {MOST_BYTES:,} that a package may carry: "
                "take a smaller backbone"
            )
    return size


def _normalised(crops: npt.NDArray[np.uint8]) -> Iterator[torch.Tensor]:
    for first in range(0, len(crops), _BATCH):
        yield normalise(torch.from_numpy(crops[first : first + _BATCH]))


def training_crops(project: Path, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Crops of a project's training people, drawn evenly from its catalog.

    Raises:
        UsageError: the project has no catalog.
        ReidError: it is damaged.
    """
    paths = read_catalog(project / CATALOG).split("train").paths
    drawn = np.linspace(0, len(paths) - 1, min(_CROPS, len(paths))).astype(int)
    return load_images([paths[row] for row in drawn], height, width)


def main() -> None:
    """Ship what the command line names."""
    if len(sys.argv) != 3:
        raise UsageError("say python -m pipelines.ship PROJECT OUT")
    project, out = Path(sys.argv[1]), Path(sys.argv[2])
    exported = project / EXPORTED
    size_of = load_card(exported).input
    size = ship(exported, training_crops(project, size_of.height, size_of.width), out)
    say(f"{out}: {size:,} bytes")


if __name__ == "__main__":
    run_stage(main)
