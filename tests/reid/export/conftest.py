"""One small model, exported once, and crops to measure it on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from reid.export.onnx import export_onnx
from reid.models.embedder import EmbeddingModel, ModelSpec, build_model, normalise, save_model


@dataclass(frozen=True)
class Exported:
    """A model, its checkpoint and its float32 ONNX file."""

    model: EmbeddingModel
    spec: ModelSpec
    checkpoint: Path
    onnx: Path


def smooth_crops(count: int, height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """Blobs of colour: unlike white noise they differ from each other after pooling, as people do."""
    coarse = torch.rand(count, 3, 6, 3, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return (fine * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def settled(model: EmbeddingModel, images: npt.NDArray[np.uint8]) -> EmbeddingModel:
    """Let the BatchNorms of a random model see images, as those of a trained one have."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        for _ in range(4):
            model.neck(model(normalise(torch.from_numpy(images))))
    return model.eval()


@pytest.fixture(scope="session")
def crops() -> npt.NDArray[np.uint8]:
    """uint8 ``(12, 64, 32, 3)``."""
    return smooth_crops(12, 64, 32, seed=1)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A ResNet-18 with a reduction to 64 dimensions and GeM."""
    folder = tmp_path_factory.mktemp("exported")
    spec = ModelSpec(
        backbone="resnet18", weights="none", height=64, width=32, embedding_dim=64, pooling="gem"
    )
    torch.manual_seed(0)
    model = settled(build_model(spec), smooth_crops(16, 64, 32, seed=2))
    save_model(model, spec, folder / "model.safetensors")
    export_onnx(model, spec, folder / "model.onnx", {"reid.note": "test"})
    return Exported(model, spec, folder / "model.safetensors", folder / "model.onnx")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 ONNX file of a network of six convolutions in a row, with 16 dimensions."""
    return _six_convolutions(tmp_path_factory.mktemp("small"), lambda weights: weights)


@pytest.fixture(scope="session")
def positive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with no negative weight: sums of products are as large as they get."""
    return _six_convolutions(tmp_path_factory.mktemp("positive"), torch.abs)


def _six_convolutions(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for channels_in, channels_out, stride in (
        (3, 16, 2),
        (16, 16, 1),
        (16, 16, 2),
        (16, 16, 1),
        (16, 16, 2),
        (16, 16, 1),
    ):
        layers += [
            torch.nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            torch.nn.BatchNorm2d(channels_out),
            torch.nn.ReLU(),
        ]
    with torch.no_grad():
        for layer in layers[::3]:
            layer.weight.copy_(change(layer.weight))
    model = settled(EmbeddingModel(torch.nn.Sequential(*layers), 16), smooth_crops(16, 64, 32, seed=2))
    path = folder / "small.onnx"
    export_onnx(model, ModelSpec(backbone="small", height=64, width=32), path, {"reid.note": "test"})
    return path
