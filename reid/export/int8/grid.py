"""The int8 grids of activations and weights, and how far a tensor's grid reaches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["WEIGHT_LIMIT", "Grid", "activation_grid", "rounded", "weight_scales"]

# Processors without VNNI multiply unsigned by signed bytes and add two products into 16 bits, which saturate
# (VPMADDUBSW). With activations of up to 255, 2 * 255 * 64 = 32640 still fits into 32767, 2 * 255 * 65 does
# not.
WEIGHT_LIMIT = 64

_SAMPLE = 400_000
_ACTIVATION_SHARES = np.linspace(0.3, 1.0, 29)
_WEIGHT_SHARES = np.linspace(0.4, 1.0, 25)


def rounded(values: npt.NDArray[Any], scale: npt.NDArray[Any] | float, limit: int) -> npt.NDArray[Any]:
    """Whole numbers in -limit..limit, as floats, halves to even as ONNX's QuantizeLinear rounds."""
    return np.clip(np.rint(values / scale), -limit, limit)


@dataclass(frozen=True)
class Grid:
    """The uint8 levels of an activation: 0..255 for 0 and above, or both sides of 0 around 128.

    Unsigned throughout, because that is what processors multiply signed weights with, and because ONNX
    Runtime fuses a convolution only where its input and its output are of one type.

    Attributes:
        scale: the step between two levels.
        zero: the level of 0.0: 0 or 128.
    """

    scale: float
    zero: int

    def nearest(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Each value as the grid holds it, halves to even as ONNX's QuantizeLinear rounds."""
        levels = np.clip(np.rint(values / np.float32(self.scale)), -self.zero, 255 - self.zero)
        return (levels * np.float32(self.scale)).astype(np.float32)


def activation_grid(values: npt.NDArray[np.float32]) -> Grid:
    """The grid with the least squared error on ``values`` (any shape), of 29 reaches up to the largest
    magnitude.
    """
    flat = values.reshape(-1)
    zero = 128 if flat.min(initial=0.0) < 0 else 0
    reach = float(np.abs(flat).max(initial=0.0))
    if reach == 0:
        return Grid(1.0, zero)
    if flat.size > _SAMPLE:
        flat = np.random.default_rng(0).choice(flat, _SAMPLE, replace=False)
    grids = [Grid(float(np.float32(reach * share / (255 - zero))), zero) for share in _ACTIVATION_SHARES]
    return min(grids, key=lambda grid: float(np.square(grid.nearest(flat) - flat).mean()))


def weight_scales(
    weights: npt.NDArray[np.floating], energy: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """The step of every output channel with the least error, each weight's error counting by the energy of
    its input.

    Args:
        weights: ``(groups, channels, inputs)``.
        energy: ``(groups, inputs)``, mean squares of the inputs.

    Returns:
        ``(groups, channels, 1)``.
    """
    reach = np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-8)
    best, chosen = np.full(reach.shape, np.inf), reach / WEIGHT_LIMIT
    for share in _WEIGHT_SHARES:
        scale = reach * share / WEIGHT_LIMIT
        error = np.square(rounded(weights, scale, WEIGHT_LIMIT) * scale - weights) * energy[:, None]
        total = error.sum(-1, keepdims=True)
        chosen = np.where(total < best, scale, chosen)
        best = np.minimum(total, best)
    return chosen.astype(np.float32)
