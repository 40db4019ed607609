"""The int8 grids of activations and weights, and how far a tensor's grid reaches."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIVATION_LIMIT", "WEIGHT_LIMIT", "activation_scale", "rounded", "weight_scales"]

# Symmetric, zero point 0: the only form that TensorRT takes.
ACTIVATION_LIMIT = 127
# Processors without VNNI multiply unsigned by signed bytes and add two products into 16 bits, which saturate (VPMADDUBSW). A runtime
# may shift signed activations to unsigned ones of up to 255: 2 * 255 * 64 = 32640 still fits into 32767, 2 * 255 * 65 does not.
WEIGHT_LIMIT = 64

_SAMPLE = 400_000
_ACTIVATION_SHARES = np.linspace(0.3, 1.0, 29)
_WEIGHT_SHARES = np.linspace(0.4, 1.0, 25)


def rounded(values: npt.NDArray[Any], scale: npt.NDArray[Any] | float, limit: int) -> npt.NDArray[Any]:
    """Whole numbers in -limit..limit, as floats, halves to even as ONNX's QuantizeLinear rounds."""
    return np.clip(np.rint(values / scale), -limit, limit)


def activation_scale(values: npt.NDArray[np.float32]) -> float:
    """The step between int8 levels with the least squared error on ``values`` (any shape), of 29 reaches up to the largest magnitude."""
    flat = values.reshape(-1)
    reach = float(np.abs(flat).max(initial=0.0))
    if reach == 0:
        return 1.0
    if flat.size > _SAMPLE:
        flat = np.random.default_rng(0).choice(flat, _SAMPLE, replace=False)
    scales = reach * _ACTIVATION_SHARES / ACTIVATION_LIMIT
    errors = [np.square(rounded(flat, scale, ACTIVATION_LIMIT) * scale - flat).mean() for scale in scales]
    return float(np.float32(scales[int(np.argmin(errors))]))


def weight_scales(weights: npt.NDArray[np.floating], energy: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The step of every output channel with the least error, each weight's error counting by the energy of its input.

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
