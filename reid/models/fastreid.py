"""FastReID's ResNets with its embedding head, under the names of its checkpoints, so that those load as they
are.

FastReID (He et al. 2020) is not on PyPI; names and computations follow its public source,
``fastreid/modeling``: the backbone of ``build_resnet_backbone``, the head ``EmbeddingHead``. In evaluation
mode its embedding is the feature after the BN neck, whatever ``NECK_FEAT`` says, which is about training.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["FASTREID", "FastReIDNetwork", "Variant", "fastreid_names"]

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_NON_LOCAL = {50: (0, 2, 3, 0), 101: (0, 2, 9, 0)}  # behind the last blocks of each stage
_PLANES = (64, 128, 256, 512)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Variant:
    """One of FastReID's configurations.

    Attributes:
        depth: 50 or 101 layers.
        ibn: half of the channels of the first three stages are normalised by instance (IBN-a, Pan et al.
            2018).
        non_local: non-local blocks in the second and third stage (Wang et al. 2018).
        gem: generalised-mean pooling, else the mean.
        height, width: of its input in pixels.
    """

    depth: int
    ibn: bool
    non_local: bool
    gem: bool
    height: int = 256
    width: int = 128


def _variants() -> dict[str, Variant]:
    made = {}
    for depth, ibn in ((50, False), (50, True), (101, True)):
        suffix = f"R{depth}{'-ibn' if ibn else ''}"
        made[f"bagtricks_{suffix}"] = Variant(depth, ibn, non_local=False, gem=False)
        made[f"AGW_{suffix}"] = Variant(depth, ibn, non_local=True, gem=True)
        made[f"sbs_{suffix}"] = Variant(depth, ibn, non_local=True, gem=True, height=384)
    return made


FASTREID = _variants()  # by the names of its configuration files


class _IBN(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self.first = planes // 2
        self.IN = nn.InstanceNorm2d(self.first, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.first)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self.IN(maps[:, : self.first]), self.BN(maps[:, self.first :])], dim=1)


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, planes: int, stride: int, ibn: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1: nn.Module = _IBN(planes) if ibn else nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if channels != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(maps)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.downsample(maps))


class _NonLocal(nn.Module):
    """Every place answers for all others, weighted by the product of their codes, without a softmax.

    Its codes have one channel: FastReID divides its reduction by itself.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Conv2d(channels, 1, 1)
        self.theta = nn.Conv2d(channels, 1, 1)
        self.phi = nn.Conv2d(channels, 1, 1)
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))
        # As FastReID begins: a block that changes nothing.
        nn.init.zeros_(self.W[1].weight)  # type: ignore[arg-type]  # a Sequential does not know its members' types

    def forward(self, maps: Tensor) -> Tensor:
        # (theta phi / n) g of FastReID, with the sum over places taken first: no matrix of places by places.
        answer = (self.phi(maps) * self.g(maps)).mean(dim=(2, 3), keepdim=True)
        return self.W(self.theta(maps) * answer) + maps


class _Backbone(nn.Module):
    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = 64
        blocks = _BLOCKS[variant.depth]
        for stage, (planes, count) in enumerate(zip(_PLANES, blocks, strict=True), start=1):
            made = []
            for block in range(count):
                # LAST_STRIDE is 1 in all of its configurations.
                stride = 2 if block == 0 and stage in (2, 3) else 1
                made.append(_Bottleneck(channels, planes, stride, variant.ibn and stage < 4))
                channels = 4 * planes
            self.add_module(f"layer{stage}", nn.Sequential(*made))
        self._behind: dict[int, range] = {}
        for stage, (planes, count) in enumerate(zip(_PLANES, _NON_LOCAL[variant.depth], strict=True), 1):
            wanted = count if variant.non_local else 0
            self._behind[stage] = range(blocks[stage - 1] - wanted, blocks[stage - 1])
            if wanted:
                added = nn.ModuleList(_NonLocal(4 * planes) for _ in range(wanted))
                self.add_module(f"NL_{stage}", added)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage, behind in self._behind.items():
            for number, block in enumerate(self.get_submodule(f"layer{stage}").children()):
                maps = block(maps)
                if number in behind:
                    maps = self.get_submodule(f"NL_{stage}.{number - behind.start}")(maps)
        return maps


class _GeneralisedMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, maps: Tensor) -> Tensor:
        raised = maps.float().clamp(min=1e-6).pow(self.p)
        return raised.mean(dim=(2, 3), keepdim=True).pow(1.0 / self.p)


class _Mean(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), keepdim=True)


class _Head(nn.Module):
    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.pool_layer: nn.Module = _GeneralisedMean() if variant.gem else _Mean()
        self.bottleneck = nn.Sequential(nn.BatchNorm2d(4 * _PLANES[-1]))

    def forward(self, maps: Tensor) -> Tensor:
        return self.bottleneck(self.pool_layer(maps))[..., 0, 0]


class FastReIDNetwork(nn.Module):
    """Backbone, pooling and BN neck.

    FastReID's mean and deviation of pixels of 0 to 255 are buffers of its network, and may differ from
    ImageNet's. Here they are given for images that were normalised by ImageNet's.

    Args:
        variant: which of its configurations.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", _channels(_MEAN) * 255)
        self.register_buffer("pixel_std", _channels(_STD) * 255)
        self.backbone = _Backbone(variant)
        self.heads = _Head(variant)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, 2048), not normalised, of images (B, 3, H, W) normalised by ImageNet's
        statistics.
        """
        mean, std = (_channels(values).to(images) * 255 for values in (_MEAN, _STD))
        scale = std / self.pixel_std
        return self.heads(self.backbone(images * scale + (mean - self.pixel_mean) / self.pixel_std))


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def fastreid_names(given: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Tensors of a checkpoint under today's names of FastReID.

    Older versions call the BN neck ``bnneck``; a pooling without a learned exponent has 3; the statistics of
    pixels are no longer saved, and are then ImageNet's.
    """
    named = {}
    for key, value in given.items():
        # What is left of the old neck beside the new one is its counter alone.
        if key.startswith("heads.bnneck.") and "heads.bottleneck.0.weight" in given:
            continue
        named[key.replace("heads.bnneck.", "heads.bottleneck.0.")] = value
    own = net.state_dict()
    for key in ("pixel_mean", "pixel_std", "heads.pool_layer.p"):
        if key in own:
            value = named.get(key, own[key])
            named[key] = value.view_as(own[key]) if value.numel() == own[key].numel() else value
    return named
