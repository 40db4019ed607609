"""The blocks of a backbone from input to output: what is frozen first, and what learns more slowly."""

from typing import Any

from torch import nn

from reid.models.timm_backbone import TimmBackbone

__all__ = ["blocks_of"]


def blocks_of(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """All parameters of a backbone, block by block, those nearest the input first.

    Most networks of timm's say themselves what their blocks are. Of others they are the children, or those of
    an only child, that have parameters; a normalisation goes with the layer before it. What is in no child,
    such as a transformer's tokens and positions, belongs to the first block.
    """
    if isinstance(backbone, TimmBackbone) and hasattr(backbone.net, "group_matcher"):
        return _of_timm(backbone.net)
    children = list(backbone.children())
    while len(children) == 1:
        children = list(children[0].children())
    blocks: list[list[nn.Parameter]] = [[]]
    for child in children:
        own = list(child.parameters())
        alone = all(parameter.ndim == 1 for parameter in own)  # a normalisation has no other
        if blocks[-1] and not alone:
            blocks.append([])
        blocks[-1] += own
    known = {id(parameter) for block in blocks for parameter in block}
    blocks[0] += [parameter for parameter in backbone.parameters() if id(parameter) not in known]
    return [block for block in blocks if block]


def _of_timm(net: Any) -> list[list[nn.Parameter]]:
    from timm.models import group_parameters

    named = dict(net.named_parameters())
    groups: dict[int, list[str]] = group_parameters(net, net.group_matcher())
    return [[named[name] for name in groups[number]] for number in sorted(groups)]
