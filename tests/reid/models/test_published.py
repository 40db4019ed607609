"""Networks as their library publishes them: the embedding of the library itself, from a checkpoint that the
library saved.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from reid.errors import ReidError, UsageError
from reid.export.onnx import export_onnx
from reid.export.runners import embed_onnxruntime
from reid.models.embedder import ModelSpec, build_model
from reid.models.inference import embed_images
from reid.models.published import PUBLISHED, build_published
from tests.reid.export.conftest import smooth_crops
from tests.reid.models.torchreid_checkpoint import by_torchreid, trained

# All of them instead of the few below, and a line of each for the table in docs/runtimes.md: "networks", some
# minutes of a processor, or "files", exported ones too, an hour.
ASKED = os.environ.get("REID_EVERY_ARCHITECTURE", "")
EVERY = [name.partition(":")[2] for name in PUBLISHED if name.startswith("torchreid:")] if ASKED else []
NAMES = (
    *("osnet_x1_0", "osnet_x0_75", "osnet_x0_5", "osnet_x0_25", "osnet_ibn_x1_0"),
    *("osnet_ain_x1_0", "osnet_ain_x0_75", "osnet_ain_x0_5", "osnet_ain_x0_25"),
    *("resnet50", "resnet50_fc512", "resnet50_ibn_a", "mlfn", "hacnn"),
)
# Tracing a network takes longer than everything else: one with instance normalisation, beside OSNet x0.25,
# which the test of the command exports.
EXPORTED = ("osnet_ain_x0_25",)


@pytest.mark.parametrize("name", EVERY or NAMES)
def test_the_embedding_is_that_of_torchreid_s_feature_extractor(name: str, tmp_path: Path) -> None:
    own = PUBLISHED[f"torchreid:{name}"]
    path = trained(name, tmp_path, own.height, own.width)
    images = smooth_crops(3, own.height, own.width, seed=9)
    spec = ModelSpec(f"torchreid:{name}", str(path), own.height, own.width, neck_feature="before_bn")
    model = build_model(spec).eval()
    ours = embed_images(model, images)
    theirs = by_torchreid(name, tmp_path, images)
    assert ours.shape == theirs.shape
    lowest = [float((ours * theirs).sum(axis=1).min())]
    assert lowest[0] >= 0.9999
    # Different pictures are further apart than that, so that agreement says something.
    assert (theirs @ theirs.T)[np.triu_indices(3, 1)].max() < 0.9999
    if ASKED == "files" or name in EXPORTED:
        export_onnx(model, spec, tmp_path / "model.onnx", {})
        exported = embed_onnxruntime(tmp_path / "model.onnx", images)
        lowest.append(float((exported * theirs).sum(axis=1).min()))
        assert lowest[1] >= 0.9999
    if ASKED:
        print("|", name, "|", model.dim, "|", " | ".join(f"{one:.6f}" for one in lowest), "|")  # noqa: T201


def test_a_checkpoint_is_the_same_model_every_time(tmp_path: Path) -> None:
    path = trained("osnet_x0_25", tmp_path, 64, 32)
    first, second = (
        build_published("torchreid:osnet_x0_25", 64, 32, str(path))[0].state_dict() for _ in range(2)
    )
    assert any(key.startswith("net.classifier.") for key in first)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_in_training_mode_it_still_embeds() -> None:
    network, dim = build_published("torchreid:osnet_x0_25", 64, 32)
    assert network.train()(torch.zeros(2, 3, 64, 32)).shape == (2, dim, 1, 1) == (2, 512, 1, 1)
    assert network.get_submodule("net.conv1").training


def test_another_architecture_is_one_line_with_the_layers_and_what_would_fit(tmp_path: Path) -> None:
    path = trained("osnet_x0_25", tmp_path, 64, 32)
    with pytest.raises(ReidError) as caught:
        build_published("torchreid:osnet_x1_0", 64, 32, str(path))
    said = str(caught.value)
    assert re.search(
        r"are not of torchreid:osnet_x1_0: \d+ of \d+ tensors of another shape: conv1\.conv\.weight", said
    )
    assert said.endswith("they fit torchreid:osnet_x0_25")
    assert "\n" not in said


def test_names_and_sizes_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="architecture 'osnet' is unknown: choose one of torchreid:osnet_x1_0, "
    ):
        build_published("osnet", 256, 128)
    with pytest.raises(ReidError, match=r"takes no images of 256x128 .*its publisher uses 160x64"):
        build_published("torchreid:hacnn", 256, 128)
    with pytest.raises(UsageError, match="give those that its publisher trained"):
        build_published("torchreid:osnet_x0_25", 64, 32, "imagenet")
