"""The self-test that an export writes: rendered people, made from a seed, and what the trained model says of
them.
"""

from pathlib import Path

import numpy as np

from reid.card import SelfTestRecord
from reid.data.synthetic.few import rendered_people
from reid.export.runners import installed_runners
from reid.files import sha256_of
from reid.linear_metric import FittedMetric
from reid.models.embedder import EmbeddingModel, ModelSpec
from reid.models.inference import embed_images
from reid.self_test import SELF_TEST_NAME, SelfTest, write_self_test

__all__ = ["add_self_test"]


def add_self_test(
    model: EmbeddingModel,
    spec: ModelSpec,
    folder: Path,
    files: dict[str, Path],
    metric: FittedMetric | None = None,
) -> SelfTestRecord:
    """Write the self-test into a model directory and measure every file on it.

    Args:
        model: the trained model.
        spec: its input size.
        folder: the model directory.
        files: ONNX files by precision.
        metric: that is folded into them.

    Returns:
        For the card: of each precision the lowest cosine in any CPU runtime installed here.
    """
    images = rendered_people(spec.height, spec.width)
    rows = embed_images(model, images).astype(np.float32)
    test = SelfTest(images, rows if metric is None else metric.apply(rows))
    path = folder / SELF_TEST_NAME
    write_self_test(test, path)
    runners = installed_runners().values()
    lowest = {
        precision: min(float(test.cosines(run(file, images)).min()) for run in runners)
        for precision, file in files.items()
    }
    return SelfTestRecord(path=path.name, sha256=sha256_of(path), lowest=lowest)
