"""Small networks on frozen features, trained by the loop of all trainings in a second or two.

The loop draws, augments and normalises images. Here an image is one pixel whose three bytes are a number, and
what stands in the backbone's place looks up the features of the picture of this number.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _people import World
from torch import Tensor, nn

from reid.config import ObjectiveParams, TrainParams, load_params
from reid.losses import CombinedLoss
from reid.models.embedder import IMAGENET_MEAN, IMAGENET_STD, EmbeddingModel
from reid.models.inference import embed_images
from reid.training.batches import TrainingData
from reid.training.checks import batch_plan
from reid.training.division import build
from reid.training.loop import Epoch, train
from reid.training.renewal import BatchPlan

__all__ = ["SETTINGS", "embedded", "new_head", "objective_from", "train_head"]

HIDDEN = 256
_PLAIN: dict[str, Any] = {"flip": False, "pad_crop": 0, "erasing": 0.0, "colour_jitter": 0.0}
_SMALL: dict[str, Any] = {
    "threads": 1,
    "precision": "float32",
    "channels_last": False,
    "learning_rate": 0.001,
}
_BATCH: dict[str, Any] = {"identities": 16, "images": 4, "steps": 300, "epoch_steps": 50}
SETTINGS: TrainParams = load_params(Path(__file__).parents[1] / "params.yaml").train.model_copy(
    update=_PLAIN | _SMALL | _BATCH
)
"""Those of params.yaml, without augmentation, which means nothing to features."""


class _LookUp(nn.Module):
    """Features (B, C, 1, 1) of the pictures whose numbers the normalised pixels (B, 3, 1, 1) say, moved to
    ``centre`` (C,) and, from norm 1, to numbers of variance about 1, as the layers behind want them.
    """

    def __init__(self, features: npt.NDArray[np.float32], centre: npt.NDArray[np.float32]) -> None:
        super().__init__()
        self.centre = centre
        table = torch.from_numpy((features - centre) * features.shape[1] ** 0.5)
        # a function, since copies of the module, which averaged weights are, share it
        self.row = lambda number: table[number]

    def forward(self, pixels: Tensor) -> Tensor:
        mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        digits = ((pixels.flatten(1) * deviation + mean) * 255).round().long()
        found: Tensor = self.row(digits @ torch.tensor([1, 256, 65536]))
        return found[:, :, None, None]


def numbered(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Images (N, 1, 1, 3) that say these numbers below 2^24."""
    digits = np.stack([rows & 255, rows >> 8 & 255, rows >> 16], axis=1)
    return digits.astype(np.uint8)[:, None, None]


def new_head(features: npt.NDArray[np.float32], dim: int, seed: int) -> EmbeddingModel:
    """Two layers on the features (N, C), the second gives embeddings of ``dim`` numbers."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(features.shape[1], HIDDEN, 1), nn.ReLU()
    return EmbeddingModel(
        nn.Sequential(_LookUp(features, features.mean(0)), *layers), HIDDEN, embedding_dim=dim
    )


def objective_from(
    section: Mapping[str, Any], people: int, dim: int, images: int
) -> tuple[CombinedLoss, BatchPlan]:
    """What a section of ``objectives`` in params.yaml says, for so many people and images."""
    own = ObjectiveParams.model_validate({"start": "untrained"} | dict(section))
    objective = build(own, num_classes=people, embedding_dim=dim, images=images)
    return objective, batch_plan(own, objective)


def train_head(
    world: World,
    rows: npt.NDArray[np.int64],
    objective: CombinedLoss,
    plan: BatchPlan,
    seed: int,
    model: EmbeddingModel,
    steps: int,
    follow: bool = False,
) -> tuple[EmbeddingModel, list[float]]:
    """Train ``model`` on these pictures.

    Returns:
        The model with averaged weights, and with ``follow`` the mAP of the people held out after each epoch.
    """
    test = world.test_rows(seed)[: None if follow else 0]
    data = TrainingData(
        numbered(rows),
        np.unique(world.identities[rows], return_inverse=True)[1],
        world.cameras[rows],
        [Path(str(row)) for row in rows],
        numbered(test),
        world.identities[test],
        world.cameras[test],
        vectors=None if world.poses is None else world.poses[rows],
    )
    settings, curve = SETTINGS.model_copy(update={"steps": steps}), []

    def note(epoch: Epoch) -> None:
        curve.append(epoch.figures.get("val_mean_ap", np.nan))

    return train(model, objective, data, settings, seed=seed, plan=plan, on_epoch=note)[0], curve


def embedded(model: EmbeddingModel, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit embeddings (N, D) by a trained head of any features (N, C)."""
    own = deepcopy(model)
    own.backbone[0] = _LookUp(features, own.backbone[0].centre)
    return embed_images(own, numbered(np.arange(len(features))))
