"""Checkpoints of timm, torchvision and OML: the embedding that their library gives, with and without the
classifier.
"""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from reid.errors import ReidError, UsageError
from reid.export.from_checkpoint import architecture_named, input_size
from reid.models.embedder import ModelSpec, build_model, normalise
from reid.models.inference import embed_images
from reid.models.published import published
from tests.reid.export.conftest import smooth_crops
from tests.reid.models.statistics_of_norms import with_statistics

IMAGES = smooth_crops(3, 64, 32, seed=9)


def saved(net: nn.Module, path: Path, prefix: str = "") -> Path:
    torch.save({"state_dict": {prefix + key: value for key, value in net.state_dict().items()}}, path)
    return path


def rows_of(architecture: str, path: Path) -> np.ndarray:
    return embed_images(
        build_model(ModelSpec(architecture, str(path), 64, 32, neck_feature="before_bn")), IMAGES
    )


def agree(ours: np.ndarray, features: Tensor, least: float = 0.99999) -> bool:
    theirs = F.normalize(features).detach().numpy()
    assert ours.shape == theirs.shape
    # Different pictures are further apart, so that agreement says something.
    assert (theirs @ theirs.T)[np.triu_indices(3, 1)].max() < least
    return (ours * theirs).sum(axis=1).min() >= least


def pixels() -> Tensor:
    return normalise(torch.from_numpy(IMAGES))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit2"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.backbone."])
def test_timm_without_its_classifier(name: str, prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = {"img_size": (64, 32)} if "vit" in name else {}
    net = with_statistics(timm.create_model(name, num_classes=37, **size))
    architecture = architecture_named(f"timm:{name}")
    assert architecture == f"timm:{name}+features"
    rows = rows_of(architecture, saved(net, tmp_path / "net.pth", prefix))
    assert agree(rows, net.forward_head(net.forward_features(pixels()), pre_logits=True))


def test_timm_and_torchvision_with_their_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    nets = {
        "timm:test_resnet": timm.create_model("test_resnet", num_classes=37),
        "torchvision:resnet18": torchvision.models.resnet18(num_classes=37),
    }
    for name, net in nets.items():
        path = saved(with_statistics(net), tmp_path / "net.pth", "model.")
        architecture = architecture_named(name, path)
        assert architecture == f"{name}+head37"
        assert agree(rows_of(architecture, path), net(pixels()))
    assert input_size("timm:test_resnet") == (256, 128)


def test_torchvision_without_its_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = with_statistics(torchvision.models.mobilenet_v3_small(num_classes=37))
    rows = rows_of("torchvision:mobilenet_v3_small+features", saved(net, tmp_path / "net.pth"))
    net.classifier[3] = nn.Identity()
    assert agree(rows, net(pixels()))


def test_positions_of_another_size_are_interpolated_as_timm_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    # 10 by 10 patches; the model has 4 by 2
    net = with_statistics(timm.create_model("test_vit", num_classes=37, dynamic_img_size=True))
    rows = rows_of("timm:test_vit+features", saved(net, tmp_path / "net.pth"))
    assert agree(rows, net.forward_head(net.forward_features(pixels()), pre_logits=True))


def by_dino(state: dict[str, Tensor], images: Tensor, heads: int) -> Tensor:
    """OML's ViTExtractor, from DINO's source: rows of the class token."""

    def norm(name: str, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(name: str, tokens: Tensor) -> Tensor:
        return F.linear(tokens, state[f"{name}.weight"], state[f"{name}.bias"])

    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    grid, own = patches.shape[2:], state["pos_embed"]
    positions = F.interpolate(
        own[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2),
        scale_factor=tuple((size + 0.1) / 14 for size in grid),
        mode="bicubic",
    )
    positions = torch.cat([own[:, :1], positions.permute(0, 2, 3, 1).reshape(1, -1, own.shape[2])], dim=1)
    tokens = torch.cat(
        [state["cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1
    )
    tokens = tokens + positions
    for block in range(12):
        key = f"blocks.{block}"
        mixed = linear(f"{key}.attn.qkv", norm(f"{key}.norm1", tokens))
        q, k, v = mixed.reshape(*mixed.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        tokens = tokens + linear(f"{key}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        inner = F.gelu(linear(f"{key}.mlp.fc1", norm(f"{key}.norm2", tokens)))
        tokens = tokens + linear(f"{key}.mlp.fc2", inner)
    return norm("norm", tokens)[:, 0]


def test_oml_s_vit_with_dino_s_positions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = with_statistics(timm.create_model("vit_small_patch16_224", num_classes=0))
    with torch.no_grad():
        net.pos_embed.normal_()  # far from smooth: how positions are interpolated is seen
    state = {f"model.model.{key}": value for key, value in net.state_dict().items()}
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": state | {"criterion.weight": torch.zeros(3)}, "epoch": 2}, path)
    assert agree(rows_of("oml:vits16", path), by_dino(net.state_dict(), pixels(), heads=6))
    assert input_size("oml:vits16") == (224, 224)


def test_oml_s_resnet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = with_statistics(torchvision.models.resnet18())
    path = saved(net, tmp_path / "resnet.pth", "model.")
    net.fc = nn.Identity()
    assert agree(rows_of("oml:resnet18", path), net(pixels()))


def test_names_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="timm has no network 'resnet5': did you mean one of resnet50"):
        architecture_named("timm:resnet5")
    with pytest.raises(UsageError, match="torchvision has no classification network 'resnet5'"):
        architecture_named("torchvision:resnet5")
    with pytest.raises(UsageError, match="--keep-head is for timm: and torchvision:"):
        architecture_named("osnet_x1_0", tmp_path / "x.pth")
    for name in ("timm:test_resnet", "timm:test_resnet+head", "timm:test_resnet+head0", "other:net+features"):
        with pytest.raises(UsageError, match="is unknown: choose one of"):
            published(name)
    path = saved(timm.create_model("test_resnet", num_classes=0), tmp_path / "net.pth")
    with pytest.raises(ReidError, match=r"have no fc\.weight, the classifier of timm:test_resnet"):
        architecture_named("timm:test_resnet", path)
    with pytest.raises(ReidError, match=r"tensors missing: "):
        rows_of("timm:test_convnext+features", path)
