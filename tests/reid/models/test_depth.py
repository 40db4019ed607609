"""Which parameters are of which block, for networks of every make."""

from itertools import chain

import pytest
from torch import nn

from reid.models.backbones import build_backbone
from reid.models.depth import blocks_of

# How many blocks, and a parameter of the first two and of the last one.
NETWORKS = {
    "mobilenet_v2": (19, "features.0.0.weight", "features.1.conv.0.0.weight", "features.18.0.weight"),
    "resnet18": (5, "bn1.bias", "layer1.0.conv1.weight", "layer4.1.bn2.bias"),
    "osnet_x0_25": (5, "conv1.conv.weight", "conv2.0.conv1.conv.weight", "conv5.conv.weight"),
    "timm:test_vit": (7, "net.pos_embed", "net.blocks.0.norm1.weight", "net.norm.bias"),
    # says nothing of its blocks
    "timm:poolformerv2_s12": (
        2,
        "net.stem.conv.weight",
        "net.stages.0.blocks.0.norm1.weight",
        "net.stages.3.blocks.1.res_scale2.scale",
    ),
    "timm:test_efficientnet": (6, "net.conv_stem.weight", "net.blocks.0.0.conv.weight", "net.bn2.bias"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_go_from_input_to_output(name: str) -> None:
    size = (160, 160) if "vit" in name else (64, 32)
    as_published = "vit" in name or "poolformer" in name
    backbone, _ = build_backbone(name, "none", last_stride=2 if as_published else 1, size=size)
    count, *expected = NETWORKS[name]
    names = {id(parameter): key for key, parameter in backbone.named_parameters()}
    blocks = [[names[id(parameter)] for parameter in block] for block in blocks_of(backbone)]
    assert sorted(chain(*blocks)) == sorted(names.values()), "each parameter is of one block"
    assert len(blocks) == count, [block[0] for block in blocks]
    for key, block in zip(expected, (blocks[0], blocks[1], blocks[-1]), strict=True):
        assert key in block, block


def test_what_is_in_no_child_belongs_to_the_first_block() -> None:
    backbone = nn.Sequential()
    backbone.add_module("first", nn.Conv2d(3, 4, 1))
    backbone.add_module("second", nn.Conv2d(4, 4, 1))
    backbone.register_parameter("token", nn.Parameter(backbone.first.weight.detach().clone()))
    first, second = blocks_of(backbone)
    assert any(parameter is backbone.token for parameter in first)
    assert len(second) == 2
