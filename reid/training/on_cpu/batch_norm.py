"""Batch normalisation and the rectifier behind it, as one pass (Ioffe and Szegedy 2015, algorithm 1 and section 3)."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from reid.training.on_cpu.team import Loop, address, barrier, compile_loop, narrow, thread_count, thread_number, widen

__all__ = ["NormClamp"]

_BLOCK = 256  # rows that are summed in float32 before their sum goes into one of float64
_STORED = {torch.float32: np.float32, torch.bfloat16: np.uint16}


class NormClamp(nn.Module):
    """A BatchNorm2d with what clamps its output; in training each number is read twice, where torch's passes read it four times.

    Args:
        norm: with weights and running statistics, which stay its own.
        low: the least output; minus infinity for no bound.
        high: the greatest; infinity for no bound.
    """

    def __init__(self, norm: nn.BatchNorm2d, low: float, high: float) -> None:
        super().__init__()
        self.norm, self.low, self.high = norm, low, high
        self.settings = torch.tensor([norm.eps, norm.momentum, low, high], dtype=torch.float64)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise ``(B, C, h, w)``, channels last."""
        rows = maps.numel() // maps.shape[1]
        if rows > 1 and maps.dtype in _STORED and maps.is_contiguous(memory_format=torch.channels_last):
            return _NormClamp.apply(maps, self.norm.weight, self.norm.bias, self.norm, self.settings)
        return functional.hardtanh(self.norm(maps), self.low, self.high)


class _NormClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, settings: Tensor) -> Tensor:
        assert norm.num_batches_tracked is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.num_batches_tracked += 1
        output, moments = torch.empty_like(maps), torch.empty(2, len(weight))
        own = weight, bias, moments, settings, _scratch(weight)
        _run(_loops(maps.dtype)[0], maps, output, *own, norm.running_mean, norm.running_var)
        ctx.save_for_backward(maps, weight, bias)
        ctx.moments, ctx.settings = moments, settings
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        maps, weight, bias = ctx.saved_tensors
        slope = slope.contiguous(memory_format=torch.channels_last)
        of_maps, of_weight, of_bias = torch.empty_like(maps), torch.empty_like(weight), torch.empty_like(bias)
        own = weight, bias, ctx.moments, ctx.settings, _scratch(weight)
        _run(_loops(maps.dtype)[1], maps, of_maps, *own, slope, of_weight, of_bias)
        return of_maps, of_weight, of_bias, None, None


def _run(loop: Loop, maps: Tensor, *others: Tensor) -> None:
    channels = maps.shape[1]
    loop(maps.numel() // channels, channels, maps.data_ptr(), *(tensor.data_ptr() for tensor in others))


def _scratch(weight: Tensor) -> Tensor:
    # Of each thread: two sums of float64, and four rows of float32.
    return torch.empty(torch.get_num_threads(), 4, len(weight), dtype=torch.float64)


@cache
def _loops(dtype: torch.dtype) -> tuple[Loop, Loop]:
    forward, backward = _define(_STORED[dtype])
    return compile_loop(forward), compile_loop(backward)


def _define(stored: Any) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """The two passes over rows of ``stored`` numbers.

    The inner loops run over the channels, which lie side by side, so that they vectorise.
    """

    def forward(data: Any) -> None:
        given = numba.carray(data, (11,), np.int64)
        rows, channels, threads, thread = given[0], given[1], np.int64(thread_count()), np.int64(thread_number())
        inputs = numba.carray(address(given[2]), (rows, channels), stored)
        outputs = numba.carray(address(given[3]), (rows, channels), stored)
        weight = numba.carray(address(given[4]), (channels,), np.float32)
        bias = numba.carray(address(given[5]), (channels,), np.float32)
        moments = numba.carray(address(given[6]), (2, channels), np.float32)
        settings = numba.carray(address(given[7]), (4,), np.float64)
        sums = numba.carray(address(given[8]), (threads, 4, channels), np.float64)
        floats = numba.carray(address(given[8]), (threads, 8, channels), np.float32)
        begin, end = rows * thread // threads, rows * (thread + 1) // threads
        total, own = sums[thread], floats[thread]
        first, second, origin = own[4], own[5], own[6]
        # Sums of squares lose digits where the mean is far from zero; some row is near it.
        for c in range(channels):
            origin[c] = widen(inputs[0, c])
            total[0, c] = total[1, c] = 0.0
        for block in range(begin, end, _BLOCK):
            stop = min(end, block + _BLOCK)
            for c in range(channels):
                first[c] = second[c] = np.float32(0)
            row = block
            while row + 4 <= stop:
                a, b, d, e = inputs[row], inputs[row + 1], inputs[row + 2], inputs[row + 3]
                for c in range(channels):
                    p, q = widen(a[c]) - origin[c], widen(b[c]) - origin[c]
                    r, s = widen(d[c]) - origin[c], widen(e[c]) - origin[c]
                    first[c] += (p + q) + (r + s)
                    second[c] += (p * p + q * q) + (r * r + s * s)
                row += 4
            while row < stop:
                for c in range(channels):
                    p = widen(inputs[row, c]) - origin[c]
                    first[c] += p
                    second[c] += p * p
                row += 1
            for c in range(channels):
                total[0, c] += first[c]
                total[1, c] += second[c]
        barrier()
        mean, scale = first, second
        for c in range(channels):
            moved, square = 0.0, 0.0
            for t in range(threads):
                moved += sums[t, 0, c]
                square += sums[t, 1, c]
            moved /= rows
            variance = square / rows - moved * moved
            variance = 0.0 if variance < 0 else variance  # and not max(): what is not a number stays so
            inverse = 1 / np.sqrt(variance + settings[0])
            mean[c], scale[c] = origin[c] + moved, weight[c] * inverse
            if thread == 0:
                moments[0, c], moments[1, c] = origin[c] + moved, inverse
                running_mean = numba.carray(address(given[9]), (channels,), np.float32)
                running_variance = numba.carray(address(given[10]), (channels,), np.float32)
                running_mean[c] += settings[1] * (origin[c] + moved - running_mean[c])
                running_variance[c] += settings[1] * (variance * rows / (rows - 1) - running_variance[c])
        low, high = np.float32(settings[2]), np.float32(settings[3])
        for row in range(begin, end):
            here, there = inputs[row], outputs[row]
            for c in range(channels):
                value = (widen(here[c]) - mean[c]) * scale[c] + bias[c]
                value = low if value < low else value
                there[c] = narrow(high if value > high else value, there[c])

    def backward(data: Any) -> None:
        given = numba.carray(data, (12,), np.int64)
        rows, channels, threads, thread = given[0], given[1], np.int64(thread_count()), np.int64(thread_number())
        inputs = numba.carray(address(given[2]), (rows, channels), stored)
        of_inputs = numba.carray(address(given[3]), (rows, channels), stored)
        weight = numba.carray(address(given[4]), (channels,), np.float32)
        bias = numba.carray(address(given[5]), (channels,), np.float32)
        moments = numba.carray(address(given[6]), (2, channels), np.float32)
        settings = numba.carray(address(given[7]), (4,), np.float64)
        sums = numba.carray(address(given[8]), (threads, 4, channels), np.float64)
        floats = numba.carray(address(given[8]), (threads, 8, channels), np.float32)
        slopes = numba.carray(address(given[9]), (rows, channels), stored)
        of_weight = numba.carray(address(given[10]), (channels,), np.float32)
        of_bias = numba.carray(address(given[11]), (channels,), np.float32)
        begin, end = rows * thread // threads, rows * (thread + 1) // threads
        total, own = sums[thread], floats[thread]
        first, second, scale = own[4], own[5], own[6]
        low, high, nothing = np.float32(settings[2]), np.float32(settings[3]), np.float32(0)
        mean = moments[0]
        for c in range(channels):
            scale[c] = weight[c] * moments[1, c]
            total[0, c] = total[1, c] = 0.0
        for block in range(begin, end, _BLOCK):
            stop = min(end, block + _BLOCK)
            for c in range(channels):
                first[c] = second[c] = nothing
            row = block
            while row + 2 <= stop:
                a, b, d, e = inputs[row], inputs[row + 1], slopes[row], slopes[row + 1]
                for c in range(channels):
                    p, q = widen(a[c]) - mean[c], widen(b[c]) - mean[c]
                    x, y = p * scale[c] + bias[c], q * scale[c] + bias[c]
                    r = nothing if (x <= low) | (x >= high) else widen(d[c])
                    s = nothing if (y <= low) | (y >= high) else widen(e[c])
                    first[c] += r + s
                    second[c] += r * p + s * q
                row += 2
            while row < stop:
                for c in range(channels):
                    p = widen(inputs[row, c]) - mean[c]
                    x = p * scale[c] + bias[c]
                    r = nothing if (x <= low) | (x >= high) else widen(slopes[row, c])
                    first[c] += r
                    second[c] += r * p
                row += 1
            for c in range(channels):
                total[0, c] += first[c]
                total[1, c] += second[c]
        barrier()
        constant, factor = first, second
        for c in range(channels):
            of_sum, of_product = 0.0, 0.0
            for t in range(threads):
                of_sum += sums[t, 0, c]
                of_product += sums[t, 1, c]
            inverse = np.float64(moments[1, c])
            constant[c] = -of_sum / rows * scale[c]
            factor[c] = -of_product / rows * inverse * inverse * scale[c]
            if thread == 0:
                of_weight[c], of_bias[c] = of_product * inverse, of_sum
        for row in range(begin, end):
            here, slope, there = inputs[row], slopes[row], of_inputs[row]
            for c in range(channels):
                p = widen(here[c]) - mean[c]
                x = p * scale[c] + bias[c]
                r = nothing if (x <= low) | (x >= high) else widen(slope[c])
                there[c] = narrow(r * scale[c] + (p * factor[c] + constant[c]), there[c])

    return forward, backward
