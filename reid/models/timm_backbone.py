"""Networks of timm as backbones: feature maps of convolutional ones and of Swin and ConvNeXt, the class token
of vision transformers.
"""

from typing import Any

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.models.libraries import timm_config

__all__ = ["PREFIX", "TimmBackbone", "build_timm_net"]

PREFIX = "timm:"


def build_timm_net(
    name: str,
    height: int,
    width: int,
    *,
    pretrained: bool,
    patch_stride: int | None = None,
    drop_path: float = 0.0,
) -> nn.Module:
    """A network of timm's without its classifier, for an input of a size.

    Args:
        name: in timm's registry.
        height: of the input in pixels; positions are interpolated to it where weights are loaded.
        width: likewise.
        pretrained: with the weights that timm publishes for it, downloaded.
        patch_stride: of a vision transformer, between its patches in pixels; less than a patch makes them
            overlap (He et al. 2021, "TransReID", section 3.2). None is the network's own: no overlap.
        drop_path: the greatest share of training steps in which a residual branch is left out (Huang et al.
            2016).

    Raises:
        UsageError: timm knows no such network, or it has no patches.
    """
    import timm

    options: dict[str, Any] = {"img_size": (height, width)} if timm_config(name).fixed_input_size else {}
    if drop_path:
        options["drop_path_rate"] = drop_path
    if patch_stride is None:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    return _overlapping(name, height, width, patch_stride, pretrained=pretrained, options=options)


def _overlapping(
    name: str, height: int, width: int, stride: int, *, pretrained: bool, options: dict[str, Any]
) -> nn.Module:
    """The network built for the size at which patches side by side are as many as overlapping ones are in
    the input, so that timm's own loading interpolates positions to them.
    """
    import timm

    probe: Any = timm.create_model(name, pretrained=False, num_classes=0, **options)
    embed = getattr(probe, "patch_embed", None)
    projection = getattr(embed, "proj", None)
    if getattr(probe, "pos_embed", None) is None or not isinstance(projection, nn.Conv2d):
        raise UsageError(f"backbone timm:{name} has no patches with positions: leave patch_stride out")
    patch = projection.kernel_size[0]
    if not 0 < stride <= patch:
        raise UsageError(f"patch_stride is {stride}: want 1 to {patch}, a patch of timm:{name}")
    rows, columns = ((size - patch) // stride + 1 for size in (height, width))
    options["img_size"] = (rows * patch, columns * patch)
    net: Any = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    net.patch_embed.proj.stride = (stride, stride)
    # Else it would hold the input against the size that it was built for.
    net.patch_embed.img_size = None
    return net


class TimmBackbone(nn.Module):
    """Images to feature maps by a network of timm's.

    A vision transformer that embeds with its class token gives that token alone, as maps of one place; one
    that embeds with the mean of its patches gives them.

    Args:
        net: of ``build_timm_net``.
        name: for messages.
        height: of the input in pixels.
        width: likewise.
        last_stride: 1 takes the last halving of the resolution out where convolutions make it, and leaves a
            transformer of one resolution as it is; 2 leaves the network as published.

    Attributes:
        dim: channels of the maps.
        left_out: prefixes of the network's parameters that maps do not need, and that were taken out.
        token: whether the maps are one class token.

    Raises:
        UsageError: the network has no stride to take away, or its features are neither maps nor tokens.
    """

    def __init__(self, net: Any, name: str, height: int, width: int, last_stride: int) -> None:
        super().__init__()
        self.net = net
        images = torch.zeros(2, 3, height, width)
        ran, halvings = _dry_run(net, images)
        shape = _features(net, images).shape
        if len(shape) not in (3, 4):
            raise UsageError(
                f"backbone timm:{name} gives features of shape {tuple(shape)}: want maps or tokens"
            )
        self.left_out = _leave_out(net, ran)
        self._channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"
        self.token = len(shape) == 3 and getattr(net, "global_pool", "") == "token"
        self._tokens = len(shape) == 3
        self._prefix = int(getattr(net, "num_prefix_tokens", 0) or 0)
        self._grid = tuple(net.patch_embed.grid_size) if self._tokens else ()
        if not self._tokens and last_stride == 1:
            _take_last_stride_away(net, name, halvings, images)
        training = net.training
        with torch.inference_mode():
            self.dim = int(self.eval()(images).shape[1])
        self.train(training)

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps (B, C, h, w) of normalised images (B, 3, H, W)."""
        features = self.net.forward_features(images)
        if self.token:
            return features[:, 0, :, None, None]
        if self._tokens:
            patches = features[:, self._prefix :].transpose(1, 2)
            return patches.reshape(patches.shape[0], patches.shape[1], *self._grid)
        return features.permute(0, 3, 1, 2) if self._channels_last else features


def _features(net: Any, images: Tensor) -> Tensor:
    training = net.training
    try:
        with torch.inference_mode():
            return net.eval().forward_features(images)
    finally:
        net.train(training)


def _dry_run(net: Any, images: Tensor) -> tuple[set[str], list[nn.Module]]:
    """Which modules make the features, and the layers whose strides of 2 halve the resolution for the last
    time.
    """
    ran: set[str] = set()
    strided: list[tuple[nn.Module, int]] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], output: object) -> None:
            ran.add(name)
            layer = isinstance(module, (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d))
            if layer and module.stride in (2, (2, 2)):
                strided.append((module, given[0].shape[2]))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in net.named_modules()]
    _features(net, images)
    for hook in hooks:
        hook.remove()
    # Modules of one halving see maps of one size, and those of the last one the smallest.
    smallest = min((size for _, size in strided), default=0)
    return ran, [module for module, size in strided if size == smallest]


def _leave_out(net: nn.Module, ran: set[str]) -> tuple[str, ...]:
    """Take out what features do not need, for its parameters would never get a gradient; prefixes of their
    names.
    """
    unused = [
        name
        for name, child in net.named_children()
        if not any(one == name or one.startswith(f"{name}.") for one in ran)
        and next(child.parameters(), None) is not None
    ]
    for name in unused:
        setattr(net, name, nn.Identity())
    return tuple(f"{name}." for name in unused)


def _take_last_stride_away(net: Any, name: str, halvings: list[nn.Module], images: Tensor) -> None:
    before = _features(net, images).shape[2]
    for layer in halvings:
        layer.stride = (1, 1)  # type: ignore[assignment]  # of a layer that has one
        if isinstance(layer, nn.AvgPool2d) and layer.kernel_size in (2, (2, 2)):
            layer.kernel_size = 1  # beside a convolution in a shortcut: nothing to average without the stride
    # An even kernel cuts the maps short without its stride.
    if halvings and _features(net, images).shape[2] == 2 * before:
        return
    raise UsageError(f"backbone timm:{name} has no last stride that can be taken away: set last_stride to 2")
