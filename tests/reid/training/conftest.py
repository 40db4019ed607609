"""A tiny data set on disk: people are colours, cameras are brightness."""

import multiprocessing
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from reid.config import Params, parse_params
from reid.data.catalog import write_catalog
from reid.files import sha256_of

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture(scope="session")
def tiny_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and three validation people, two cameras, two images each, 32 x 16."""
    folder = tmp_path_factory.mktemp("tiny")
    generator = np.random.default_rng(0)
    rows = []
    for person in range(9):
        colour = generator.integers(0, 200, 3)
        for camera in "12":
            for image in range(2):
                path = folder / f"{person}_{camera}_{image}.png"
                pixels = colour * (0.6 if camera == "1" else 1.0) + generator.integers(0, 20, (32, 16, 3))
                cv2.imwrite(str(path), pixels.astype(np.uint8))
                row: dict[str, object] = {
                    "path": path.name,
                    "identity": f"p{person}",
                    "camera": camera,
                    "width": 16,
                    "height": 32,
                }
                rows.append(row | {"split": "train" if person < 6 else "val", "sha256": sha256_of(path)})
    write_catalog(rows, folder / "catalog.parquet")
    return folder / "catalog.parquet"


@pytest.fixture
def tiny_params(tmp_path: Path) -> Params:
    """The project's parameters cut down to six steps of a small network, with every store below
    ``tmp_path``.
    """
    value = yaml.safe_load(PARAMS.read_text())
    value["model"] |= {"weights": "none", "height": 32, "width": 16}
    value["train"] |= {
        "steps": 6,
        "epoch_steps": 2,
        "identities": 3,
        "images": 2,
        "threads": 1,
        "pad_crop": 2,
    }
    for objective in value["objectives"].values():
        objective |= {"steps": None, "learning_rate": None}
    value["objectives"]["hierarchical"]["sampler"]["options"] = {"neighbours": 2}
    value["tune"] |= {"storage": str(tmp_path / "tune"), "retries": 0}
    value["tracking"] |= {"uri": f"sqlite:///{tmp_path}/mlflow.db", "records": str(tmp_path / "records")}
    return parse_params(value)


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Processes forked from one that has torch loaded: a start takes a tenth of a second."""
    context: ForkServerContext = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.reid.training.test_kill", "tests.reid.training.test_distributed", "torchvision"]
    )
    first = context.Process(target=time.sleep, args=(0,))
    first.start()  # the import of torch happens here, before any clock runs
    first.join()
    return context
