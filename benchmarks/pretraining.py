"""Does pre-training on crops without names help where few people have one? mAP of people never seen.

The same objective with few named people, from the weights of ``model.weights`` and from a pre-training on
many rendered people without names; both see the same batches of the named people. Other people, of whom each
camera asks the others, are the test.

    python benchmarks/pretraining.py --unnamed 120 --named 6 --steps 300 --seeds 1
"""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import arguments

from reid.config import Params, load_params, settings_of, with_values
from reid.data.synthetic import TownSpec
from reid.data.synthetic.crops import render_crop
from reid.images import resize
from reid.models.embedder import EmbeddingModel, build_model
from reid.training.batches import TrainingData
from reid.training.loop import train
from reid.training.trial import loss_and_batches, model_spec
from reid.training.validation import validate

__all__ = ["People", "few_labels", "rendered_people"]

CAMERAS = 3
TEST_PEOPLE = 40
People = tuple[Any, Any, Any]
"""Images (N, H, W, 3) uint8 RGB, identities (N,) and cameras (N,) as text."""


def rendered_people(people: range, images: int, height: int, width: int, seed: int) -> People:
    """``images`` crops of each rendered person in each camera."""
    spec = TownSpec(people=people.stop, cameras=CAMERAS, images_per_camera=images, seed=seed)
    keys = [(who, camera, n) for who in people for camera in range(1, CAMERAS + 1) for n in range(images)]
    pictures = np.stack([resize(render_crop(spec, *key), height, width) for key in keys])
    identities, cameras = (np.asarray([str(key[place]) for key in keys]) for place in (0, 1))
    return pictures, identities, cameras


def few_labels(params: Params, method: str, unnamed: People, named: People, test: People) -> dict[str, float]:
    """mAP of the ``test`` people by four networks: as begun, pre-trained alone, the objective batch_hard on
    the ``named`` people, and the same from the pre-trained one.

    Args:
        params: with a pre-training ``method`` and the objective ``batch_hard``.
        method: the pre-training's name.
        unnamed: whose identities are not looked at.
        named: the few to train on.
        test: others.
    """
    torch.set_num_threads(params.train.threads)
    images = _training_data(unnamed[0], np.arange(len(unnamed[0])), unnamed[2])
    people = _training_data(named[0], np.unique(named[1], return_inverse=True)[1], named[2])
    begun, pretrained, plain = (_network(params) for _ in range(3))
    pretrained = _trained(params, method, pretrained, images)
    figures = {"begun": _score(begun, test), "pretrained": _score(pretrained, test)}
    figures["named"] = _score(_trained(params, "batch_hard", plain, people), test)
    return figures | {"both": _score(_trained(params, "batch_hard", pretrained, people), test)}


def _network(params: Params) -> EmbeddingModel:
    torch.manual_seed(params.seed)
    return build_model(model_spec(params))


def _training_data(images: Any, labels: Any, cameras: Any) -> TrainingData:
    nobody = np.asarray([], np.str_)
    paths = [Path(f"{row}.jpg") for row in range(len(images))]
    return TrainingData(images, labels, cameras, paths, images[:0], nobody, nobody)


def _trained(params: Params, name: str, model: EmbeddingModel, data: TrainingData) -> EmbeddingModel:
    torch.manual_seed(params.seed)
    objective, plan = loss_and_batches(params, name, int(data.labels.max()) + 1, model.dim)
    return train(model, objective, data, settings_of(params, name), seed=params.seed, plan=plan)[0]


def _score(model: EmbeddingModel, people: People) -> float:
    return validate(model, *people)["val_mean_ap"]


def main() -> None:
    options = arguments(
        __doc__ or "", unnamed=120, named=6, method="simclr", weights="none", steps=300, batch=32, seeds=1
    )
    loaded = load_params(Path(__file__).parents[1] / "params.yaml")
    section = {"images": "-", "method": options.method, "batch": options.batch, "steps": options.steps}
    if options.method == "moco":
        section["options"] = {"queue": 8 * options.batch}
    changes = {"pretrain": {"mine": section}, "model.weights": options.weights, "train.steps": 100}
    rows = []
    for seed in range(options.seeds):
        params = with_values(loaded, changes | {"seed": seed, "train.identities": min(8, options.named)})
        size = params.model.height, params.model.width, seed
        first, second = options.unnamed + 1, options.unnamed + options.named + 1
        sets = ((range(1, first), 2), (range(first, second), 4), (range(second, second + TEST_PEOPLE), 2))
        unnamed, named, test = (rendered_people(people, images, *size) for people, images in sets)
        rows.append(few_labels(params, "mine", unnamed, named, test))
        print(
            f"seed {seed}: " + ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()),
            flush=True,
        )
    means = {name: statistics.mean(row[name] for row in rows) for name in rows[0]}
    print("mean: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))
    if options.json:
        print(json.dumps({"mean_ap": means, "gain": means["both"] - means["named"]}))


if __name__ == "__main__":
    main()
