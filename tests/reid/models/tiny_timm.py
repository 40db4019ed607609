"""One network of timm's of each kind, as small as they come: timm's own for tests, and a Swin added here."""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.swin_transformer import SwinTransformer
from torch import nn

__all__ = ["KINDS", "tiny_swin"]

default_cfgs = generate_default_cfgs(
    {
        "tiny_swin.none": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "fixed_input_size": True,
            "first_conv": "patch_embed.proj",
            "classifier": "head.fc",
        }
    }
)


@register_model
def tiny_swin(pretrained: bool = False, **options: Any) -> nn.Module:
    """Four stages of a block each, from 16 channels."""
    return build_model_with_cfg(
        SwinTransformer,
        "tiny_swin",
        pretrained,
        **({"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)} | options),
    )


# Name, last_stride, and rows and columns of the maps that are made of 64x32 pixels.
KINDS = {
    "timm:test_resnet": (1, (4, 2)),
    "timm:test_efficientnet": (1, (4, 2)),
    "timm:test_convnext": (2, (2, 1)),
    "timm:tiny_swin": (2, (2, 1)),
    "timm:test_vit": (1, (1, 1)),
    "timm:test_vit2": (1, (4, 2)),
}
