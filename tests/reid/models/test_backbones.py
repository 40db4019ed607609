"""The backbones: every name builds, strides and channels are what is promised, weights really arrive."""

import re
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from reid.errors import ReidError, UsageError
from reid.models.backbones import BACKBONES, build_backbone

CHANNELS = {
    "resnet18": 512,
    "resnet50": 2048,
    "mobilenet_v2": 1280,
    "mobilenet_v3_large": 960,
    "efficientnet_b0": 1280,
    "osnet_x0_25": 128,
    "osnet_x1_0": 512,
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_gives_feature_maps_of_stride_16(name: str) -> None:
    backbone, channels = build_backbone(name, "none")
    with torch.inference_mode():
        maps = backbone.eval()(torch.zeros(2, 3, 128, 64))
    assert maps.shape == (2, channels, 8, 4)
    assert channels == CHANNELS.get(name, channels)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"])
def test_last_stride_two_leaves_the_network_as_published(name: str) -> None:
    backbone, channels = build_backbone(name, "none", last_stride=2)
    with torch.inference_mode():
        assert backbone.eval()(torch.zeros(1, 3, 128, 64)).shape == (1, channels, 4, 2)


def test_osnet_has_no_stride_to_take_away() -> None:
    with pytest.raises(UsageError, match="osnet_x0_25 has a stride of 16 only"):
        build_backbone("osnet_x0_25", "none", last_stride=2)


def test_packaged_mobilenet_knows_imagenet() -> None:
    torch.manual_seed(0)
    backbone, _ = build_backbone("mobilenet_v2", "imagenet", last_stride=2)
    first = backbone.get_parameter("features.0.0.weight")
    again, _ = build_backbone("mobilenet_v2", "imagenet")
    assert torch.equal(first, again.get_parameter("features.0.0.weight"))
    # Trained running statistics are not the 0 and 1 of a fresh network.
    assert not torch.allclose(backbone.get_buffer("features.18.1.running_var"), torch.ones(1280))


def test_packaged_tensors_land_under_their_torchvision_names() -> None:
    backbone, _ = build_backbone("mobilenet_v2", "imagenet", last_stride=2)
    for name, variance in backbone.named_buffers():
        if name.endswith("running_var"):
            assert (variance >= 0).all(), name  # a bias or mean filed under this name would have negatives
    for name, module in backbone.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight > -0.5).all(), name
            assert not torch.equal(module.bias, module.running_mean), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file_with_its_classifier(tmp_path: Path, suffix: str) -> None:
    net = torchvision.models.resnet18()
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(net.state_dict(), path)
    else:
        save_file(net.state_dict(), path)
    backbone, _ = build_backbone("resnet18", str(path))
    assert torch.equal(backbone.get_parameter("layer4.1.conv2.weight"), net.layer4[1].conv2.weight)


def test_bad_weights_are_one_line_that_names_the_file(tmp_path: Path) -> None:
    wrong_net = tmp_path / "resnet34.pth"
    torch.save(torchvision.models.resnet34().state_dict(), wrong_net)
    garbage = tmp_path / "garbage.pth"
    garbage.write_bytes(b"\x00garbage" * 99)
    torn = tmp_path / "torn.safetensors"
    save_file({"a": torch.zeros(9)}, torn)
    torn.write_bytes(torn.read_bytes()[:-8])
    objects = tmp_path / "objects.pth"
    torch.save({"net": Path("x")}, objects)
    for path in (wrong_net, garbage, torn, objects):
        with pytest.raises(ReidError, match=re.escape(str(path))) as caught:
            build_backbone("resnet18", str(path))
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"weights of backbone resnet18 .* does not exist"):
        build_backbone("resnet18", str(tmp_path / "absent.pth"))


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(UsageError, match="'resnet9' is unknown: choose timm:NAME or one of resnet18, "):
        build_backbone("resnet9")
    with pytest.raises(UsageError, match="last_stride is 4"):
        build_backbone("resnet18", "none", last_stride=4)


@pytest.mark.parametrize("name", ["resnet18", "osnet_x0_25"])
def test_a_failed_download_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # the discard port: refused at once
    with pytest.raises(
        ReidError,
        match=f"backbone {name}: its ImageNet weights could not be downloaded .*weights: PATH.*mobilenet_v2",
    ) as caught:
        build_backbone(name, "imagenet")
    assert "\n" not in str(caught.value)
