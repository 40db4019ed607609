"""The self-test that an export writes: rendered people, made from a seed, and what the trained model says of them."""

from pathlib import Path

import numpy as np

from reid.card import SelfTestRecord
from reid.data.synthetic import TownSpec
from reid.data.synthetic.crops import render_crop
from reid.export.runners import installed_runners
from reid.files import sha256_of
from reid.images import resize
from reid.models.embedder import EmbeddingModel, ModelSpec
from reid.models.inference import embed_images
from reid.self_test import SELF_TEST_NAME, SelfTest, write_self_test

__all__ = ["add_self_test"]

_PEOPLE, _CAMERAS, _SEED = 4, 2, 20260
_SMALLEST = 32  # that people are rendered at, in pixels; models may take smaller ones


def add_self_test(model: EmbeddingModel, spec: ModelSpec, folder: Path, files: dict[str, Path]) -> SelfTestRecord:
    """Write the self-test into a model directory and measure every file on it.

    Args:
        model: the trained model.
        spec: its input size.
        folder: the model directory.
        files: ONNX files by precision.

    Returns:
        For the card: of each precision the lowest cosine in any CPU runtime installed here.
    """
    height, width = max(_SMALLEST, spec.height), max(_SMALLEST, spec.width)
    town = TownSpec(people=_PEOPLE, cameras=_CAMERAS, image_height=height, image_width=width, footage_people=1, seed=_SEED)
    seats = [(person, camera) for person in range(1, _PEOPLE + 1) for camera in range(1, _CAMERAS + 1)]
    images = np.stack([resize(render_crop(town, person, camera, 0), spec.height, spec.width) for person, camera in seats])
    test = SelfTest(images, embed_images(model, images).astype(np.float32))
    path = folder / SELF_TEST_NAME
    write_self_test(test, path)
    runners = installed_runners().values()
    lowest = {precision: min(float(test.cosines(run(file, images)).min()) for run in runners) for precision, file in files.items()}
    return SelfTestRecord(path=path.name, sha256=sha256_of(path), lowest=lowest)
