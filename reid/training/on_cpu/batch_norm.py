"""Batch normalisation and the rectifier behind it, as one pass (Ioffe and Szegedy 2015, algorithm 1 and
section 3).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from reid.training.on_cpu.team import (
    Loop,
    address,
    barrier,
    compile_loop,
    narrow,
    thread_count,
    thread_number,
    widen,
)

__all__ = ["NormClamp"]

_BLOCK = 256  # rows that are summed in float32 before their sum goes into one of float64
_STORED = {torch.float32: np.float32, torch.bfloat16: np.uint16}


class NormClamp(nn.Module):
    """A BatchNorm2d with what clamps its output; in training each number is read twice, where torch's passes
    read it four times.

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
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, settings: Tensor
    ) -> Tensor:
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


@numba.njit
def _matrix(place: int, rows: int, channels: int, stored: Any) -> Any:
    return numba.carray(address(place), (rows, channels), stored)


@numba.njit(error_model="numpy")
def _totals(sums: Any, channel: int) -> tuple[float, float]:
    """Over all threads."""
    first, second = 0.0, 0.0
    for thread in range(len(sums)):
        first += sums[thread, 0, channel]
        second += sums[thread, 1, channel]
    return first, second


def _define(stored: Any) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """The two passes over rows of ``stored`` numbers.

    The inner loops run over the channels, which lie side by side, so that they vectorise.
    """

    def forward(data: Any) -> None:
        given = numba.carray(data, (11,), np.int64)
        rows, channels, threads, thread = (
            given[0],
            given[1],
            np.int64(thread_count()),
            np.int64(thread_number()),
        )
        inputs, outputs = _matrix(given[2], rows, channels, stored), _matrix(given[3], rows, channels, stored)
        weight, bias = (
            _matrix(given[4], 1, channels, np.float32)[0],
            _matrix(given[5], 1, channels, np.float32)[0],
        )
        epsilon, momentum, low, high = _matrix(given[7], 1, 4, np.float64)[0]
        sums = numba.carray(address(given[8]), (threads, 4, channels), np.float64)
        first, second, origin, _ = numba.carray(address(given[8]), (threads, 8, channels), np.float32)[
            thread, 4:
        ]
        begin, end = rows * thread // threads, rows * (thread + 1) // threads
        sums[thread, :2] = 0
        # Sums of squares lose digits where the mean is far from zero; some row is near it.
        for c in range(channels):
            origin[c] = widen(inputs[0, c])
        for block in range(begin, end, _BLOCK):
            first[:] = 0
            second[:] = 0
            for row in range(block, min(end, block + _BLOCK)):
                for c in range(channels):
                    moved = widen(inputs[row, c]) - origin[c]
                    first[c] += moved
                    second[c] += moved * moved
            sums[thread, 0] += first
            sums[thread, 1] += second
        barrier()
        moments = _matrix(given[6], 2, channels, np.float32)
        running_mean, running_variance = (
            _matrix(given[9], 1, channels, np.float32)[0],
            _matrix(given[10], 1, channels, np.float32)[0],
        )
        mean, scale = first, second
        for c in range(channels):
            moved, square = _totals(sums, c)
            moved /= rows
            variance = square / rows - moved * moved
            variance = 0.0 if variance < 0 else variance  # and not max(): what is not a number stays so
            inverse = 1 / np.sqrt(variance + epsilon)
            mean[c], scale[c] = origin[c] + moved, weight[c] * inverse
            if thread == 0:
                moments[0, c], moments[1, c] = origin[c] + moved, inverse
                running_mean[c] += momentum * (origin[c] + moved - running_mean[c])
                running_variance[c] += momentum * (variance * rows / (rows - 1) - running_variance[c])
        least, most = np.float32(low), np.float32(high)
        for row in range(begin, end):
            for c in range(channels):
                value = (widen(inputs[row, c]) - mean[c]) * scale[c] + bias[c]
                value = least if value < least else value
                outputs[row, c] = narrow(most if value > most else value, outputs[row, c])

    def backward(data: Any) -> None:
        given = numba.carray(data, (12,), np.int64)
        rows, channels, threads, thread = (
            given[0],
            given[1],
            np.int64(thread_count()),
            np.int64(thread_number()),
        )
        inputs, of_inputs = (
            _matrix(given[2], rows, channels, stored),
            _matrix(given[3], rows, channels, stored),
        )
        weight, bias = (
            _matrix(given[4], 1, channels, np.float32)[0],
            _matrix(given[5], 1, channels, np.float32)[0],
        )
        mean, inverse = _matrix(given[6], 2, channels, np.float32)
        _, _, low, high = _matrix(given[7], 1, 4, np.float64)[0]
        sums = numba.carray(address(given[8]), (threads, 4, channels), np.float64)
        first, second, scale, _ = numba.carray(address(given[8]), (threads, 8, channels), np.float32)[
            thread, 4:
        ]
        slopes = _matrix(given[9], rows, channels, stored)
        begin, end = rows * thread // threads, rows * (thread + 1) // threads
        least, most, nothing = np.float32(low), np.float32(high), np.float32(0)
        sums[thread, :2] = 0
        for c in range(channels):
            scale[c] = weight[c] * inverse[c]
        for block in range(begin, end, _BLOCK):
            first[:] = 0
            second[:] = 0
            for row in range(block, min(end, block + _BLOCK)):
                for c in range(channels):
                    centred = widen(inputs[row, c]) - mean[c]
                    output = centred * scale[c] + bias[c]
                    slope = nothing if (output <= least) | (output >= most) else widen(slopes[row, c])
                    first[c] += slope
                    second[c] += slope * centred
            sums[thread, 0] += first
            sums[thread, 1] += second
        barrier()
        of_weight, of_bias = (
            _matrix(given[10], 1, channels, np.float32)[0],
            _matrix(given[11], 1, channels, np.float32)[0],
        )
        constant, factor = first, second
        for c in range(channels):
            of_sum, of_product = _totals(sums, c)
            constant[c] = -of_sum / rows * scale[c]
            factor[c] = -of_product / rows * inverse[c] * inverse[c] * scale[c]
            if thread == 0:
                of_weight[c], of_bias[c] = of_product * inverse[c], of_sum
        for row in range(begin, end):
            for c in range(channels):
                centred = widen(inputs[row, c]) - mean[c]
                output = centred * scale[c] + bias[c]
                slope = nothing if (output <= least) | (output >= most) else widen(slopes[row, c])
                of_inputs[row, c] = narrow(
                    slope * scale[c] + (centred * factor[c] + constant[c]), of_inputs[row, c]
                )

    return forward, backward
