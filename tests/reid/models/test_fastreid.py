"""FastReID's checkpoints against its computation, written here from its source and from state dicts alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid.errors import ReidError
from reid.export.onnx import export_onnx
from reid.export.runners import embed_onnxruntime
from reid.models.embedder import ModelSpec, build_model
from reid.models.fastreid import FASTREID, FastReIDNetwork
from reid.models.inference import embed_images
from reid.models.published import build_published
from tests.reid.export.conftest import smooth_crops
from tests.reid.models.statistics_of_norms import with_statistics

State = dict[str, Tensor]


def norm(state: State, key: str, maps: Tensor) -> Tensor:
    mean, var = state[f"{key}.running_mean"], state[f"{key}.running_var"]
    return F.batch_norm(maps, mean, var, state[f"{key}.weight"], state[f"{key}.bias"])


def bottleneck(state: State, key: str, maps: Tensor, stride: int) -> Tensor:
    inner = F.conv2d(maps, state[f"{key}.conv1.weight"])
    if f"{key}.bn1.IN.weight" in state:
        first, second = inner.chunk(2, dim=1)
        first = F.instance_norm(first, weight=state[f"{key}.bn1.IN.weight"], bias=state[f"{key}.bn1.IN.bias"])
        inner = torch.cat([first, norm(state, f"{key}.bn1.BN", second)], dim=1)
    else:
        inner = norm(state, f"{key}.bn1", inner)
    inner = F.conv2d(F.relu(inner), state[f"{key}.conv2.weight"], stride=stride, padding=1)
    inner = F.conv2d(F.relu(norm(state, f"{key}.bn2", inner)), state[f"{key}.conv3.weight"])
    inner = norm(state, f"{key}.bn3", inner)
    if f"{key}.downsample.0.weight" in state:
        maps = F.conv2d(maps, state[f"{key}.downsample.0.weight"], stride=stride)
        maps = norm(state, f"{key}.downsample.1", maps)
    return F.relu(inner + maps)


def non_local(state: State, key: str, maps: Tensor) -> Tensor:
    """As the paper and FastReID write it, with the matrix of all places by all places."""
    g, theta, phi = (
        F.conv2d(maps, state[f"{key}.{name}.weight"], state[f"{key}.{name}.bias"]).flatten(2)
        for name in ("g", "theta", "phi")
    )
    between = theta.transpose(1, 2) @ phi / maps[0, 0].numel()
    answer = (between @ g.transpose(1, 2)).transpose(1, 2).reshape(len(maps), -1, *maps.shape[2:])
    answer = F.conv2d(answer, state[f"{key}.W.0.weight"], state[f"{key}.W.0.bias"])
    return norm(state, f"{key}.W.1", answer) + maps


def by_fastreid(state: State, images: np.ndarray) -> np.ndarray:
    """Rows of length 1 of its evaluation: pixels 0 to 255, the backbone, pooling, BN neck."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    maps = (pixels - state["pixel_mean"]) / state["pixel_std"]
    maps = F.conv2d(maps, state["backbone.conv1.weight"], stride=2, padding=3)
    maps = F.max_pool2d(F.relu(norm(state, "backbone.bn1", maps)), 3, 2, ceil_mode=True)
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        others = sum(
            1 for key in state if key.startswith(f"backbone.NL_{stage}.") and key.endswith(".g.bias")
        )
        for block in range(count):
            stride = 2 if block == 0 and stage in (2, 3) else 1
            maps = bottleneck(state, f"backbone.layer{stage}.{block}", maps, stride)
            if block >= count - others:
                maps = non_local(state, f"backbone.NL_{stage}.{block - count + others}", maps)
    p = state["heads.pool_layer.p"] if "heads.pool_layer.p" in state else torch.tensor(1.0)
    pooled = maps.clamp(min=1e-6).pow(p).mean((2, 3), keepdim=True).pow(1 / p)
    rows = norm(state, "heads.bottleneck.0", pooled).flatten(1).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def state_of(name: str) -> State:
    torch.manual_seed(0)
    state = with_statistics(FastReIDNetwork(FASTREID[name])).state_dict()
    if "heads.pool_layer.p" in state:
        state["heads.pool_layer.p"] = torch.tensor([2.6])
    return state


def spec(name: str, path: Path) -> ModelSpec:
    return ModelSpec(f"fastreid:{name}", str(path), 64, 32, neck_feature="before_bn")


@pytest.mark.parametrize("name", ["bagtricks_R50", "AGW_R50", "sbs_R50-ibn"])
def test_the_embedding_is_that_of_fastreid(name: str, tmp_path: Path) -> None:
    state = state_of(name)
    checkpoint = {"model": state | {"heads.weight": torch.randn(751, 2048)}, "iteration": 7, "epoch": 2}
    torch.save(checkpoint, tmp_path / "model_best.pth")
    images = smooth_crops(3, 64, 32, seed=9)
    model = build_model(spec(name, tmp_path / "model_best.pth")).eval()
    ours, theirs = embed_images(model, images), by_fastreid(state, images)
    assert ours.shape == theirs.shape == (3, 2048)
    assert (ours * theirs).sum(axis=1).min() >= 0.99999
    assert (theirs @ theirs.T)[np.triu_indices(3, 1)].max() < 0.9999
    if name == "sbs_R50-ibn":  # has all the parts
        export_onnx(model, spec(name, tmp_path), tmp_path / "model.onnx", {})
        exported = embed_onnxruntime(tmp_path / "model.onnx", images)
        assert (exported * theirs).sum(axis=1).min() >= 0.9999


def test_older_names_and_statistics_of_pixels_of_its_own(tmp_path: Path) -> None:
    state = state_of("AGW_R50")
    images = smooth_crops(3, 64, 32, seed=9)
    del state["heads.pool_layer.p"]  # a pooling whose exponent is not learned
    older = {key.replace("heads.bottleneck.0", "heads.bnneck"): value for key, value in state.items()}
    older["pixel_mean"] = torch.full((1, 3, 1, 1), 127.5)
    older["pixel_std"] = torch.full((1, 3, 1, 1), 60.0)
    torch.save({"model": older | {"heads.classifier.weight": torch.randn(9, 2048)}}, tmp_path / "older.pth")
    wanted = by_fastreid(
        state
        | {key: older[key] for key in ("pixel_mean", "pixel_std")}
        | {"heads.pool_layer.p": torch.tensor([3.0])},
        images,
    )
    rows = embed_images(build_model(spec("AGW_R50", tmp_path / "older.pth")).eval(), images)
    assert (rows * wanted).sum(axis=1).min() >= 0.99999
    del older["pixel_mean"], older["pixel_std"]  # as newer versions save it: ImageNet's
    torch.save({"model": older}, tmp_path / "newer.pth")
    rows = embed_images(build_model(spec("AGW_R50", tmp_path / "newer.pth")).eval(), images)
    assert (rows * wanted).sum(axis=1).max() < 0.99999


def test_another_configuration_is_named(tmp_path: Path) -> None:
    torch.save({"model": state_of("bagtricks_R50")}, tmp_path / "model.pth")
    with pytest.raises(ReidError, match=r"tensors missing: .*backbone\.NL_2\.0\.g\.weight") as caught:
        build_published("fastreid:sbs_R50", 64, 32, str(tmp_path / "model.pth"))
    assert str(caught.value).endswith("they fit fastreid:bagtricks_R50")
