"""A claim about whole networks, trained from nothing on small images."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _claims import Claim
from _people import World, mean_ap

from reid.config import Params, load_params, settings_of, with_values
from reid.images import resize
from reid.models.embedder import EmbeddingModel, build_model
from reid.models.inference import embed_images
from reid.training.batches import TrainingData
from reid.training.loop import train
from reid.training.trial import loss_and_batches, model_spec

__all__ = ["CLAIMS"]

NAMED = 10
Rows = npt.NDArray[np.int64]
_SOFT: dict[str, Any] = {"min_crop": 0.5, "colour_jitter": 0.2, "grey": 0.0, "erasing": 0.0}
_SMALL: dict[str, Any] = {
    # softer than the default, which is for larger images and longer trainings; so are the averaged weights
    "pretrain": {"simclr": {"images": "-", "method": "simclr", "batch": 32, "steps": 300, **_SOFT}},
    "model.backbone": "resnet18",
    "model.weights": "none",
    "model.height": 64,
    "model.width": 32,
    "train.steps": 100,
    "train.pad_crop": 4,
    "train.ema": 0.9,
    "train.learning_rate": 0.001,
    "train.threads": 1,
}


def few_labels(world: World, seed: int) -> tuple[float, float]:
    """mAP of batch-hard on ``NAMED`` people from a pre-training on everybody else's pictures without names,
    and from nothing; the batches of the named people are the same.
    """
    params = with_values(load_params(Path(__file__).parents[1] / "params.yaml"), _SMALL | {"seed": seed})
    torch.set_num_threads(params.train.threads)
    spec = model_spec(params)
    images = np.stack([resize(image, spec.height, spec.width) for image in world.images])
    rows, named, test = world.training_rows(seed), world.training_rows(seed, NAMED), world.test_rows(seed)
    unnamed = np.setdiff1d(rows, named)

    def trained(name: str, chosen: Rows, model: EmbeddingModel) -> EmbeddingModel:
        # nobody looks at a single image's label; a batch of a pre-training is drawn without
        labels = np.unique(world.identities[chosen], return_inverse=True)[1]
        return _trained(params, name, images[chosen], labels, world.cameras[chosen], model)

    starts = trained("simclr", unnamed, _network(params)), _network(params)
    found = (embed_images(trained("batch_hard", named, start), images[test]) for start in starts)
    figures = [mean_ap(rows, world.identities[test], world.cameras[test]) for rows in found]
    return figures[0], figures[1]


def _network(params: Params) -> EmbeddingModel:
    torch.manual_seed(params.seed)
    return build_model(model_spec(params))


def _trained(
    params: Params, name: str, images: Any, labels: Rows, cameras: Any, model: EmbeddingModel
) -> EmbeddingModel:
    nobody = np.asarray([], np.str_)
    paths = [Path(str(row)) for row in range(len(images))]
    data = TrainingData(images, labels, cameras, paths, images[:0], nobody, nobody)
    torch.manual_seed(params.seed)
    objective, plan = loss_and_batches(params, name, int(labels.max()) + 1, model.dim)
    return train(model, objective, data, settings_of(params, name), seed=params.seed, plan=plan)[0]


CLAIMS: dict[str, Claim] = {
    "pretraining": Claim(
        f"Pre-training without names helps where {NAMED} people have one",
        "Chen 2020 (SimCLR)",
        "ResNet-18 from nothing, 64 x 32",
        "mAP",
        few_labels,
        most_seeds=3,
        tried="MobileNetV2 with averaged weights of 0.99, one seed: both as by chance",
    )
}
