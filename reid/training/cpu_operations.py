"""Operations that torch does slowly when a trunk trains on a processor, done another way; the results are the same."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["CpuOperations"]


class CpuOperations(TorchFunctionMode):
    """While entered, forward passes through any network use these:

    - A convolution of one pixel, channels last, is a matrix product under autocast: in bfloat16 oneDNN's convolution takes a quarter
      longer.
    - A depthwise convolution with a stride gets its input's gradient under autocast from the forward kernel: for bfloat16 oneDNN has
      no other fast one, and four such layers took longer than the rest of MobileNetV2.
    - A ReLU6 in place keeps its output: torch keeps a copy of the input.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions."""
        kwargs = kwargs or {}
        if func is functional.hardtanh and kwargs.get("inplace") and args[0].requires_grad:
            return _ClampInPlace.apply(args[0], kwargs["min_val"], kwargs["max_val"])
        if func is torch.conv2d and torch.is_autocast_enabled("cpu"):
            return _convolve(*args)
        return func(*args, **kwargs)


def _convolve(
    images: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: Any, dilation: tuple[int, int], groups: int
) -> Tensor:
    if bias is None and not isinstance(padding, str) and tuple(dilation) == (1, 1):
        rows = images.is_contiguous(memory_format=torch.channels_last)
        if rows and groups == 1 and weight.shape[2:] == (1, 1) and tuple(stride) == (1, 1) and tuple(padding) == (0, 0):
            return functional.linear(images.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)
        if groups == weight.shape[0] == images.shape[1] and tuple(stride) != (1, 1):
            half = torch.get_autocast_dtype("cpu")
            return _StridedDepthwise.apply(images.to(half), weight.to(half), tuple(stride), tuple(padding))
    return torch.conv2d(images, weight, bias, stride, padding, dilation, groups)


class _ClampInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        values.clamp_(low, high)
        ctx.mark_dirty(values)
        ctx.save_for_backward(values)
        ctx.bounds = low, high
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # What was clamped lies on a bound, where the gradient is zero as beyond it.
        (values,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, values, *ctx.bounds), None, None


class _StridedDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.geometry = stride, padding
        return torch.conv2d(images, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        images, weight = ctx.saved_tensors
        stride, padding = ctx.geometry
        of_weight = torch.ops.aten.convolution_backward(
            gradient, images, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), (False, True, False)
        )[1]
        # With zeros between them the gradients are those of a convolution of stride 1, whose own gradient is one with the mirrored kernel.
        size, kernel = images.shape[2:], weight.shape[2:]
        rows, columns = (size[axis] + 2 * padding[axis] - kernel[axis] + 1 for axis in (0, 1))
        shape = (*images.shape[:2], rows, columns)
        spread = torch.empty(shape, dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        outer = [kernel[axis] - 1 - padding[axis] for axis in (0, 1)]
        return torch.conv2d(spread, weight.flip(2, 3), None, 1, outer, 1, len(weight)), of_weight, None, None
