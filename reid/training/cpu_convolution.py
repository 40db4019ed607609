"""Convolutions of one pixel and of one channel, of which light backbones consist, faster on a CPU in
bfloat16.

Pure torch: the same sums by other operators of its own. Measured with torch 2.14.1 (the figures are in
docs/benchmarks.md); unnecessary as soon as torch's own are as fast there, which these issues are about:

- https://github.com/pytorch/pytorch/issues/13716, depthwise convolutions are slow on a CPU (open since 0.4);
- https://github.com/pytorch/pytorch/issues/183815, bfloat16 convolutions slower since 2.13.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["CpuConvolution", "cpu_training_pass"]


def cpu_training_pass(backbone: nn.Module) -> Callable[[Tensor], Tensor]:
    """The training pass of a backbone in a CPU's memory: under autocast its own outputs and gradients, but
    for rounding, in half the time; elsewhere the very same.

    Weights, statistics and names stay the backbone's: the pass runs through a second tree of modules that
    holds the very same tensors. In evaluation mode, frozen for instance, the backbone itself runs.
    """
    # What deepcopy finds in its memo it does not copy.
    tensors = {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())}
    faster = copy.deepcopy(backbone, tensors).train()
    for name, layer in list(faster.named_modules()):
        if name and type(layer) is nn.Conv2d:
            faster.set_submodule(name, CpuConvolution(layer))

    def training_pass(images: Tensor) -> Tensor:
        maps: Tensor = faster(images) if backbone.training else backbone(images)
        return maps

    return training_pass


class CpuConvolution(nn.Module):
    """A Conv2d done another way under autocast to bfloat16; in float32 torch's own are as fast.

    - One pixel, channels last: a matrix product.
    - Depthwise: the gradient of the input comes from the forward kernel. With a stride oneDNN has no other
      fast one in bfloat16: four such layers took longer than the rest of MobileNetV2.

    Args:
        layer: whose weights stay its own.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        kernel = layer.kernel_size
        padding = layer.padding
        plain = (
            layer.bias is None
            and layer.dilation == (1, 1)
            and layer.padding_mode == "zeros"
            and not isinstance(padding, str)
        )
        self.is_pixelwise = (
            plain and layer.groups == 1 and (kernel, layer.stride, padding) == ((1, 1), (1, 1), (0, 0))
        )
        # A kernel that can lie wholly in the padding has no mirrored counterpart with padding >= 0.
        inside = plain and all(int(padding[axis]) < kernel[axis] for axis in (0, 1))
        self.is_depthwise = inside and 1 < layer.groups == layer.in_channels == layer.out_channels

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve ``(B, C, h, w)``."""
        if not torch.is_autocast_enabled("cpu"):
            return self.layer(maps)
        # Autocast does not look into the functions below: they must be given its dtype.
        maps = maps.to(torch.get_autocast_dtype("cpu"))
        if self.is_pixelwise and maps.is_contiguous(memory_format=torch.channels_last):
            return _Pixelwise.apply(maps, self.layer.weight)
        if self.is_depthwise:
            return _Depthwise.apply(maps, self.layer.weight, self.layer.stride, self.layer.padding)
        return self.layer(maps)


class _Pixelwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1).to(maps.dtype)
        ctx.save_for_backward(maps, matrix)
        return _maps(torch.mm(_rows(maps), matrix.t()), maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        maps, matrix = ctx.saved_tensors
        rows = _rows(gradient.contiguous(memory_format=torch.channels_last))
        for_maps = _maps(torch.mm(rows, matrix), maps) if ctx.needs_input_grad[0] else None
        for_weight = None
        if ctx.needs_input_grad[1]:
            for_weight = torch.mm(rows.t(), _rows(maps)).float()[:, :, None, None]
        return for_maps, for_weight


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w), channels last, as a matrix of one row for each pixel; a view."""
    return maps.permute(0, 2, 3, 1).view(-1, maps.shape[1])


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """The reverse; batch and size of the map as those of ``like``."""
    return rows.view(like.shape[0], *like.shape[2:], rows.shape[1]).permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        kernel = weight.to(maps.dtype)
        ctx.save_for_backward(maps, kernel)
        ctx.geometry = stride, padding
        return torch.conv2d(maps, kernel, None, stride, padding, 1, len(kernel))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        maps, kernel = ctx.saved_tensors
        stride, padding = ctx.geometry
        for_maps = for_kernel = None
        if ctx.needs_input_grad[1]:
            for_kernel = _kernel_gradient(gradient, maps, kernel, stride, padding)
        if ctx.needs_input_grad[0]:
            if tuple(stride) != (1, 1):
                gradient = _spread(gradient, maps, kernel, stride, padding)
            # The gradient of a convolution of stride 1 is one with the mirrored kernel.
            outer = [kernel.shape[axis] - 1 - padding[axis - 2] for axis in (2, 3)]
            for_maps = torch.conv2d(gradient, kernel.flip(2, 3), None, 1, outer, 1, len(kernel))
        return for_maps, for_kernel, None, None


def _kernel_gradient(
    gradient: Tensor, maps: Tensor, kernel: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """By torch's own backward pass, asked for the kernel's part alone."""
    wanted = (False, True, False)  # of maps, kernel and bias
    found = torch.ops.aten.convolution_backward(
        gradient, maps, kernel, None, stride, padding, (1, 1), False, (0, 0), len(kernel), wanted
    )
    return found[1].float()


def _spread(
    gradient: Tensor, maps: Tensor, kernel: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient with zeros between its entries: that of the same convolution of stride 1."""
    size = [maps.shape[axis] + 2 * padding[axis - 2] - kernel.shape[axis] + 1 for axis in (2, 3)]
    shape = (*maps.shape[:2], *size)
    # Zeroed after it was made: torch.zeros takes no memory format.
    wide = torch.empty(shape, dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
    wide[:, :, :: stride[0], :: stride[1]] = gradient
    return wide
