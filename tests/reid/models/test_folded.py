"""BatchNorm folded back out of an exported file: the same network, and one that trains on."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

import reid.shipped
from reid.data.synthetic.wardrobe import WardrobeSpec, render_people
from reid.errors import ReidError, UsageError
from reid.models.backbones import build_backbone
from reid.models.embedder import ModelSpec, build_model, normalise
from reid.models.folded import folded_statistics, read_statistics, unfolded_weights
from reid.models.published import build_published
from reid.shipped import STATISTICS, shipped_models
from serving.runtime import load


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1, bias=False),
        nn.BatchNorm2d(4),
    )


@pytest.fixture
def trained() -> nn.Sequential:
    """Whose statistics are those of its own batch, whose weights are of both signs."""
    torch.manual_seed(0)
    net = small()
    for norm in (net[1], net[4]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.momentum = None
    net.train()(batch())
    return net.eval()


def batch() -> torch.Tensor:
    return torch.rand(16, 3, 10, 10, generator=torch.Generator().manual_seed(1))


def write_folded(net: nn.Sequential, path: Path) -> None:
    """The weights alone, under the names of an export."""
    tensors = []
    for first in (0, 3):
        fused = fuse_conv_bn_eval(net[first], net[first + 1])
        tensors += [
            numpy_helper.from_array(value.detach().numpy(), f"model.backbone.{first}.{kind}")
            for kind, value in (("weight", fused.weight), ("bias", fused.bias))
        ]
    onnx.save(helper.make_model(helper.make_graph([], "weights", [], [], tensors)), path)


def test_the_network_comes_back(trained: nn.Sequential, tmp_path: Path) -> None:
    write_folded(trained, tmp_path / "model.onnx")
    net = small()
    statistics = folded_statistics(tmp_path / "model.onnx", net, [batch()[:8], batch()[8:]])
    for index in (1, 4):
        norm = trained[index]
        scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        # a thousand values: a training counts them less one, an evaluation all
        mean = scale * norm.running_mean
        torch.testing.assert_close(statistics[f"{index}.running_mean"], mean, rtol=0.01, atol=1e-3)
        torch.testing.assert_close(
            statistics[f"{index}.running_var"], scale**2 * norm.running_var, rtol=0.02, atol=0
        )
    net.load_state_dict(unfolded_weights(tmp_path / "model.onnx", statistics, net), strict=False)
    torch.testing.assert_close(net.eval()(batch()), trained(batch()), rtol=1e-4, atol=1e-4)
    # Training mode: by the statistics of the batch, which are those that the network was trained to have.
    torch.testing.assert_close(net.train()(batch()), trained.train()(batch()), rtol=0.02, atol=0.02)


def test_another_network_and_damaged_files_are_one_line(trained: nn.Sequential, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_folded(trained, path)
    statistics = folded_statistics(path, small(), [batch()])
    with pytest.raises(ReidError, match=r"of another network: '6.running_mean' is missing"):
        unfolded_weights(
            path, statistics, nn.Sequential(*small(), nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
        )
    with pytest.raises(ReidError, match="no BatchNorm of its own"):
        unfolded_weights(path, statistics, nn.Sequential(nn.Conv2d(3, 8, 3)))
    with pytest.raises(ReidError, match="no convolution of its own"):
        unfolded_weights(path, statistics, nn.Sequential(nn.BatchNorm2d(3)))
    with pytest.raises(UsageError, match=r"nowhere\.onnx does not exist"):
        unfolded_weights(tmp_path / "nowhere.onnx", statistics, small())
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ReidError, match=r"model\.onnx is no ONNX file, or truncated"):
        unfolded_weights(path, statistics, small())
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ReidError, match="no safetensors file, or truncated"):
        read_statistics(path)


def test_the_shipped_model_goes_on_from_where_it_is() -> None:
    folder = shipped_models()["rendered"]
    model = build_model(ModelSpec(weights="rendered", height=128, width=64))
    tensors = onnx.load(folder / "model.onnx").graph.initializer
    neck = {
        one.name.removeprefix("model.bn.").removesuffix("_fp16"): numpy_helper.to_array(one)
        for one in tensors
        if one.name.startswith("model.bn.")
    }
    model.bn.load_state_dict(
        {key: torch.from_numpy(value.astype(np.float32)) for key, value in neck.items()}, strict=False
    )
    spec = WardrobeSpec(
        people=16, cameras=8, cameras_per_person=4, images_per_camera=1, image_height=128, image_width=64
    )
    crops = render_people(spec)[0]
    exported, images = load(folder)(crops), normalise(torch.from_numpy(crops))

    def cosines() -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return (model.embed(images).numpy() * exported).sum(1)

    model.eval()
    assert cosines().min() > 0.9999
    model.backbone.train()
    assert np.median(cosines()) > 0.9
    # With any other statistics it evaluates alike, too, and then a batch would tell something else.
    measured = read_statistics(folder / STATISTICS)
    neutral = {key: torch.full_like(value, float("var" in key)) for key, value in measured.items()}
    given = unfolded_weights(folder / "model.onnx", neutral, model.backbone)
    model.backbone.load_state_dict(given, strict=False)
    model.eval()
    assert cosines().min() > 0.9999
    model.backbone.train()
    assert np.median(cosines()) < 0.7


def test_another_backbone_is_refused_and_a_file_of_its_name_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("resnet18", "timm:resnet18"):
        with pytest.raises(UsageError, match=f"rendered are of backbone mobilenet_v2, not of {other}"):
            build_backbone(other, "rendered")
    with pytest.raises(UsageError, match="rendered are of backbone mobilenet_v2, not of torchreid:mlfn"):
        build_published("torchreid:mlfn", 256, 128, "rendered")
    monkeypatch.chdir(tmp_path)
    save_file({"features.0.0.weight": torch.zeros(1)}, "rendered")
    with pytest.raises(ReidError, match="rendered"):
        build_backbone("mobilenet_v2", "rendered")


def test_a_damaged_file_of_the_package_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shipped_models()["rendered"], tmp_path / "rendered")
    monkeypatch.setattr(reid.shipped, "_FOLDER", tmp_path)
    whole = bytearray((tmp_path / "rendered/model.onnx").read_bytes())
    whole[len(whole) // 2] ^= 0x40  # still an ONNX file
    (tmp_path / "rendered/model.onnx").write_bytes(whole)
    with pytest.raises(ReidError, match=r"SHA-256 differs\): install the package again"):
        build_backbone("mobilenet_v2", "rendered")


def test_without_its_statistics_the_package_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rendered"
    folder.mkdir()
    for path in shipped_models()["rendered"].iterdir():
        if path.name != STATISTICS:
            shutil.copyfile(path, folder / path.name)
    monkeypatch.setattr(reid.shipped, "_FOLDER", tmp_path)
    with pytest.raises(UsageError, match=r"batch_norm\.safetensors does not exist"):
        build_backbone("mobilenet_v2", "rendered")
    save_file(
        dict(list(load_file(shipped_models()["rendered"] / "self_test.safetensors").items())[:1]),
        folder / STATISTICS,
    )
    with pytest.raises(ReidError, match="of another network"):
        build_backbone("mobilenet_v2", "rendered")
