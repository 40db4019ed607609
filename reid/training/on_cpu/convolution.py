"""Convolutions of one pixel and of one channel, which is what light trunks consist of."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Convolution"]


class Convolution(nn.Module):
    """A Conv2d without a bias, done another way where that is faster:

    - One pixel, channels last, in bfloat16: a matrix product. oneDNN's convolution takes a quarter longer.
    - Depthwise: the gradient of the input comes from the forward kernel, in two thirds of the time. With a
      stride only in bfloat16, for
      which oneDNN has no other fast one: four layers took longer than the rest of MobileNetV2.

    Args:
        layer: whose weights stay its own.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        kernel, padding = layer.kernel_size, layer.padding
        plain = (
            layer.bias is None
            and layer.dilation == (1, 1)
            and layer.padding_mode == "zeros"
            and not isinstance(padding, str)
        )
        self.is_pixelwise = (
            plain and layer.groups == 1 and (kernel, layer.stride, padding) == ((1, 1), (1, 1), (0, 0))
        )
        inside = plain and all(int(padding[axis]) < kernel[axis] for axis in (0, 1))
        self.is_depthwise = inside and 1 < layer.groups == layer.in_channels == layer.out_channels

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve ``(B, C, h, w)``."""
        half = torch.is_autocast_enabled("cpu")
        maps = maps.to(torch.get_autocast_dtype("cpu")) if half else maps
        if half and self.is_pixelwise and maps.is_contiguous(memory_format=torch.channels_last):
            return _Pixelwise.apply(maps, self.layer.weight)
        if self.is_depthwise and (half or self.layer.stride == (1, 1)):
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
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        maps, matrix = ctx.saved_tensors
        rows = _rows(slope.contiguous(memory_format=torch.channels_last))
        of_maps = _maps(torch.mm(rows, matrix), maps) if ctx.needs_input_grad[0] else None
        of_weight = (
            torch.mm(rows.t(), _rows(maps)).float()[:, :, None, None] if ctx.needs_input_grad[1] else None
        )
        return of_maps, of_weight


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w), channels last, as a matrix of one row for each pixel."""
    return maps.permute(0, 2, 3, 1).view(-1, maps.shape[1])


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    return rows.view(like.shape[0], *like.shape[2:], rows.shape[1]).permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        own = weight.to(maps.dtype)
        ctx.save_for_backward(maps, own)
        ctx.geometry = stride, padding
        return torch.conv2d(maps, own, None, stride, padding, 1, len(own))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        maps, weight = ctx.saved_tensors
        (stride, padding), of_weight = ctx.geometry, None
        if ctx.needs_input_grad[1]:
            of_weight = torch.ops.aten.convolution_backward(
                slope,
                maps,
                weight,
                None,
                stride,
                padding,
                (1, 1),
                False,
                (0, 0),
                len(weight),
                (False, True, False),
            )[1].float()
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None, None
        size, kernel = maps.shape[2:], weight.shape[2:]
        if tuple(stride) != (1, 1):
            # With zeros between them the gradients are those of a convolution of stride 1.
            rows, columns = (size[axis] + 2 * padding[axis] - kernel[axis] + 1 for axis in (0, 1))
            shape = (*maps.shape[:2], rows, columns)
            spread = torch.empty(shape, dtype=slope.dtype, memory_format=torch.channels_last).zero_()
            spread[:, :, :: stride[0], :: stride[1]] = slope
            slope = spread
        # The gradient of a convolution of stride 1 is one with the mirrored kernel.
        outer = [kernel[axis] - 1 - padding[axis] for axis in (0, 1)]
        return torch.conv2d(slope, weight.flip(2, 3), None, 1, outer, 1, len(weight)), of_weight, None, None
