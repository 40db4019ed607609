"""A project folder of the size of a public set: real image files of made-up people, a catalog, and trained
files of a stand-in network.

The people are colour patterns, a camera shifts colours, every image has its own noise. The stand-in for the
network is a random projection of the shrunken image to as many numbers as MobileNetV2 gives: embeddings of
the real size and shape, which know the people and suffer under worse pictures, at hardly any time. All else
(files, decoding, stages, commands) is the product's own.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import nn

from reid.config import UNTRAINED, load_params, parse_params
from reid.data.catalog import write_catalog
from reid.files import write_json
from reid.metric.class_tree import ClassTree
from reid.model_files import PAIR_METRIC, RECORD, TREE, WEIGHTS
from reid.models import backbones
from reid.models.embedder import build_model, save_model
from reid.models.pair_metric import PairMetric
from reid.training.tracking import Tracker
from reid.training.trial import model_spec

__all__ = ["SIZES", "Size", "stand_in", "write_project"]

DIM = 1280  # of MobileNetV2's embeddings


@dataclass(frozen=True)
class Size:
    """Of a public set: images and people that train, queries, gallery images, people tested on, share of
    distractors, cameras.
    """

    train: int
    train_people: int
    query: int
    gallery: int
    test_people: int
    distractors: float
    cameras: int


SIZES = {
    "tiny": Size(1200, 120, 120, 500, 60, 1 / 6, 2),
    "cuhk03": Size(7365, 767, 1400, 5332, 700, 0.0, 2),
    "market1501": Size(12936, 751, 3368, 15913, 750, 1 / 6, 6),
    "msmt17": Size(32621, 1041, 11659, 82161, 3060, 0.0, 15),
}


def stand_in(dim: int) -> None:
    """Put the random projection in MobileNetV2's place, for this process."""

    def build(_name: str, _pretrained: bool) -> nn.Module:
        net = nn.Module()
        net.features = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, dim, 8, stride=8))
        return net

    backbones.BACKBONES["mobilenet_v2"] = backbones.Family(build, ("features",), None, ())


def write_project(folder: Path, size: Size, dim: int, seed: int = 0) -> None:
    """Everything that the stages after the training read, into an existing folder that is the working
    directory.
    """
    stand_in(dim)
    value: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())
    value["model"] |= {"weights": "none"}
    value["export"] |= {"precisions": ["fp32"], "engines": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(value))
    params = parse_params(value)
    _write_images(folder, size, seed)
    tracker = Tracker.of(load_params(folder / "params.yaml").tracking)
    torch.manual_seed(seed)
    for name in (UNTRAINED, *params.objectives):
        out = folder / "models" / name
        out.mkdir(parents=True)
        model = build_model(model_spec(params))
        save_model(model, model_spec(params), out / WEIGHTS)
        run = tracker.start(name, {}, {})
        facts = {
            "objective": name,
            "data_hash": "0",
            "git_commit": "0",
            "mlflow_run_id": tracker.run_id(run) or run,
        }
        # The quadruplet is chosen, so that one model goes through everything, its learned metric included.
        figures = {"val_mean_ap": 0.5 + 0.1 * (name == "quadruplet")}
        write_json(out / RECORD, facts | {"figures": figures})
    PairMetric(dim).save(folder / "models/quadruplet" / PAIR_METRIC)
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(size.train_people), 2)
    ClassTree.from_embeddings(rng.normal(size=(len(labels), dim)), labels).save(
        folder / "models/hierarchical" / TREE
    )


def _write_images(folder: Path, size: Size, seed: int) -> None:
    """A JPEG of 128 x 64 a row, and the catalog; validation people are 15 % of the training people, as by
    default.
    """
    rng = np.random.default_rng(seed)
    held = max(2, round(0.15 * size.train_people))
    parts = {
        "val": rng.integers(0, held, round(size.train * held / size.train_people)),
        "train": rng.integers(
            held, size.train_people, size.train - round(size.train * held / size.train_people)
        ),
    }
    first = size.train_people
    parts["query"] = rng.integers(first, first + size.test_people, size.query)
    strangers = rng.random(size.gallery) < size.distractors
    known = rng.integers(first, first + size.test_people, size.gallery)
    parts["gallery"] = np.where(strangers, first + size.test_people + np.arange(size.gallery), known)
    rows = []
    for split, people in parts.items():
        (folder / "data" / split).mkdir(parents=True)
        cameras = rng.integers(0, size.cameras, len(people))
        for number, (person, camera) in enumerate(zip(people.tolist(), cameras.tolist(), strict=True)):
            stranger = person >= first + size.test_people
            identity = "0000" if stranger else f"{person + 1:04d}"
            row = {
                "path": f"{split}/{number:06d}.jpg",
                "identity": identity,
                "camera": f"{camera + 1}",
                "split": split,
            }
            rows.append(row | {"person": person, "width": 64, "height": 128})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        written = list(
            pool.map(lambda numbered: _write_image(folder / "data", *numbered, seed), enumerate(rows))
        )
    write_catalog(written, folder / "data/catalog.parquet")


def _write_image(folder: Path, number: int, row: dict[str, Any], seed: int) -> dict[str, object]:
    person, noise = (
        np.random.default_rng([seed, 1, row.pop("person")]),
        np.random.default_rng([seed, 2, number]),
    )
    camera = np.random.default_rng([seed, 3, int(row["camera"])])
    grid = (
        person.uniform(40, 215, (16, 8, 3))
        + camera.normal(0, 10, (1, 1, 3))
        + noise.normal(0, 55, (16, 8, 3))
    )
    image = cv2.resize(np.clip(grid, 0, 255).astype(np.uint8), (64, 128), interpolation=cv2.INTER_LINEAR)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    (folder / row["path"]).write_bytes(data)
    return row | {"sha256": hashlib.sha256(data).hexdigest()}


if __name__ == "__main__":  # in a process of its own, so that what it needs counts for nobody
    import sys

    name, dim = json.loads(sys.argv[1])
    write_project(Path.cwd(), SIZES[name], dim)
