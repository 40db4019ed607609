"""Backbones of timm: maps, gradients, files, overlapping patches; exported in each precision that holds."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from reid.config import load_params, with_values
from reid.errors import ReidError, UsageError
from reid.export.half import convert_fp16
from reid.export.onnx import export_onnx, read_onnx
from reid.export.precisions import Int8Conversion
from reid.export.runners import embed_onnxruntime
from reid.models.backbones import build_backbone
from reid.models.embedder import ModelSpec, build_model, load_model, normalise, save_model
from reid.models.inference import embed_images
from reid.training.modes import training_pass
from tests.reid.export.conftest import settled, smooth_crops
from tests.reid.models.statistics_of_norms import with_statistics
from tests.reid.models.tiny_timm import KINDS

SIZE = (64, 32)
ROOT = Path(__file__).resolve().parents[3]


def spec_of(name: str, **options: object) -> ModelSpec:
    return ModelSpec(name, "none", *SIZE, last_stride=KINDS[name][0], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_maps_and_gradients_and_a_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = spec_of(name)
    model = build_model(spec)
    images = normalise(torch.from_numpy(smooth_crops(4, *SIZE, seed=1)))
    maps = model.backbone(images)
    assert maps.shape[2:] == KINDS[name][1]
    assert maps.shape[1] == model.dim
    features = training_pass(model, half=False)(images)
    features.square().sum().backward()
    # what maps do not need was taken out
    without = [key for key, value in model.backbone.named_parameters() if value.grad is None]
    assert without == []
    save_model(model, spec, tmp_path / "model.safetensors")
    again, _ = load_model(tmp_path / "model.safetensors")
    assert torch.equal(again.embed(images), model.eval().embed(images))


@pytest.mark.parametrize(
    "name", ["timm:test_efficientnet", "timm:test_convnext", "timm:tiny_swin", "timm:test_vit"]
)
def test_exported_in_the_precisions_that_hold(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = spec_of(name)
    model = build_model(spec)
    with_statistics(model.backbone)
    settled(model, smooth_crops(8, *SIZE, seed=2))
    crops = smooth_crops(6, *SIZE, seed=1)
    trained = embed_images(model, crops)
    assert (trained @ trained.T)[0, 1:].max() < 0.99  # so that agreement says something
    fp32, fp16, int8 = (tmp_path / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8"))
    export_onnx(model, spec, fp32, {})
    assert (embed_onnxruntime(fp32, crops, batch=4) * trained).sum(1).min() > 0.9999
    convert_fp16(fp32, fp16)
    assert fp16.stat().st_size < 0.65 * fp32.stat().st_size
    assert (embed_onnxruntime(fp16, crops) * trained).sum(1).min() > 0.99
    if name == "timm:test_efficientnet":
        norms = [node for node in read_onnx(fp32).graph.node if node.op_type == "BatchNormalization"]
        assert len(norms) == 1  # the neck's: the others are folded into the convolutions
        Int8Conversion(fp32, smooth_crops(8, *SIZE, seed=3)).write(int8, 0.5)
        assert (embed_onnxruntime(int8, crops) * trained).sum(1).mean() > 0.8
    else:
        with pytest.raises(ReidError, match=r"int8 is made of convolutions, and \d+% .* take fp16"):
            Int8Conversion(fp32, smooth_crops(8, *SIZE, seed=3))


def test_patches_overlap_and_positions_of_a_file_are_interpolated_to_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = with_statistics(timm.create_model("test_vit", num_classes=1000))  # 10 by 10 patches
    torch.save({"model": published.state_dict()}, tmp_path / "vit.pth")
    backbone, channels = build_backbone(
        "timm:test_vit", str(tmp_path / "vit.pth"), size=SIZE, patch_stride=12
    )
    assert channels == 64
    images = normalise(torch.from_numpy(smooth_crops(2, *SIZE, seed=1)))
    state = published.state_dict()
    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=12)
    assert patches.shape[2:] == (5, 2)  # (64 - 16) // 12 + 1, (32 - 16) // 12 + 1
    grid = state["pos_embed"][:, 1:].reshape(1, 10, 10, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (5, 2), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    tokens = torch.cat([state["cls_token"].expand(2, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    tokens = tokens + torch.cat([state["pos_embed"][:, :1], grid], dim=1)
    with torch.inference_mode():
        wanted = published.norm(published.blocks(tokens))[:, 0]
        given = backbone.eval()(images)[:, :, 0, 0]
    torch.testing.assert_close(given, wanted, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_is_said() -> None:
    for options, expected in (
        ({"name": "timm:resnet5"}, "timm has no network 'resnet5'"),
        ({"name": "timm:test_convnext"}, "has no last stride that can be taken away: set last_stride to 2"),
        ({"name": "timm:test_resnet", "patch_stride": 12}, "has no patches with positions"),
        ({"name": "timm:test_vit", "patch_stride": 17}, "want 1 to 16, a patch of timm:test_vit"),
        ({"name": "resnet18", "patch_stride": 12}, "is not timm's: leave patch_stride and drop_path out"),
    ):
        with pytest.raises(UsageError, match=expected):
            build_backbone(weights="none", size=SIZE, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="gives one token, of which pooling gem"):
        build_model(spec_of("timm:test_vit", pooling="gem"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "net.pth")
    with pytest.raises(ReidError, match=r"net\.pth do not fit backbone timm:test_vit: .* missing: cls_token"):
        build_backbone("timm:test_vit", str(tmp_path / "net.pth"), size=SIZE)


def test_drop_path_reaches_the_network() -> None:
    backbone, _ = build_backbone("timm:test_vit", "none", size=SIZE, drop_path=0.3)
    rates = [module.drop_prob for module in backbone.modules() if type(module).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.3)


def test_the_recipe_loads_and_its_network_has_the_published_shape() -> None:
    params = load_params(ROOT / "recipes" / "transreid_baseline.yaml")
    small = with_values(params, {"model.backbone": "timm:test_vit", "model.weights": "none"}).model
    backbone, _ = build_backbone(
        small.backbone,
        small.weights,
        small.last_stride,
        size=(small.height, small.width),
        patch_stride=small.patch_stride,
        drop_path=small.drop_path,
    )
    assert params.model.backbone == "timm:vit_base_patch16_224"
    positions = backbone.get_parameter("net.pos_embed")
    assert isinstance(backbone.net.norm, nn.LayerNorm)
    # Of 256x128 with a patch every 12 pixels: TransReID, section 3.2.
    assert positions.shape[1] == 1 + 21 * 10
