"""Weights of one convolution on the int8 grid, so that its outputs and not its weights stay close.

Two steps, both in closed form on the inputs that the convolution will see, rounded by everything before it:

1. *Correction.* Of all float weights, those whose outputs of the rounded inputs are closest to the outputs of
   the true inputs: a ridge regression around the trained weights (the layer-wise reconstruction of Hubara et
   al. 2020, "Improving post training neural quantization", without its iterations). It takes back what
   rounding and clipping did to the inputs.
2. *Rounding with feedback.* Weights are rounded one input after another, and the error each leaves is spread
   over the inputs still to come, by the inverse of the inputs' second moments (Frantar et al. 2022, "GPTQ",
   algorithm 1, in its Cholesky form).

Where the inputs are many and seen at few positions (few or small images), both are done in the space of the
positions: the same numbers, without matrices of inputs by inputs.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from scipy import linalg

from reid.export.int8.grid import WEIGHT_LIMIT, rounded, weight_scales
from reid.export.int8.walk import attributes

__all__ = [
    "corrected",
    "corrected_by_few",
    "grouped",
    "patches",
    "round_weights",
    "rounded_by_few",
    "rounded_with_feedback",
]

Floats = npt.NDArray[np.floating]
_POSITIONS = 8192  # of a layer's inputs: more of them change the third digit of nothing
_RIDGE = 0.2  # of the inputs' mean energy
_DAMPING = 0.01  # likewise, so that inputs that are always zero leave something to invert
_BLOCK = 128
_FEW = 8  # times as many inputs as positions: then the way by positions is several times as fast


def round_weights(
    node: onnx.NodeProto,
    weights: npt.NDArray[np.float32],
    true: npt.NDArray[np.float32],
    seen: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Weights of a convolution on the int8 grid.

    Args:
        node: the convolution.
        weights: ``(out, in / groups, kh, kw)``.
        true: inputs of the float32 network, ``(N, in, H, W)``.
        seen: inputs of the int8 network, rounded, of the same images.

    Returns:
        Whole numbers in -64..64 of the weights' shape, and their scales ``(out,)``.
    """
    before, after = patches(true, node, weights.shape[2:]), patches(seen, node, weights.shape[2:])
    positions, inputs = after.shape[1:]
    if inputs >= _FEW * positions:
        target = corrected_by_few(grouped(weights, len(after)), before, after)
        scales = weight_scales(target, np.square(after).mean(1))
        levels = rounded_by_few(target, after, scales)
        return levels.reshape(weights.shape).astype(np.int8), scales.reshape(-1).astype(np.float32)
    # In float32: the work grows with the cube of the inputs, of which a 3x3 convolution of 512 channels has
    # 4608.
    moments = after.transpose(0, 2, 1) @ after / positions
    drift = (before - after).transpose(0, 2, 1) @ after / positions
    target = corrected(grouped(weights, len(after)), moments, drift)
    scales = weight_scales(target, np.diagonal(moments, axis1=1, axis2=2))
    levels = rounded_with_feedback(target, moments, scales)
    return levels.reshape(weights.shape).astype(np.int8), scales.reshape(-1).astype(np.float32)


def corrected(weights: Floats, moments: Floats, drift: Floats) -> Floats:
    """``W + W E[(x - z) z'] (E[z z'] + ridge)^-1`` for true inputs x and seen inputs z: the least squares of
    ``W x`` by ``z``.

    Args:
        weights: ``(groups, channels, inputs)``.
        moments: ``E[z z']``, ``(groups, inputs, inputs)``.
        drift: ``E[(x - z) z']``, of the same shape.
    """
    right = (weights @ drift).transpose(0, 2, 1)
    systems = zip(_damped(moments, _RIDGE), right, strict=True)
    return weights + np.stack([linalg.solve(matrix, side, assume_a="pos").T for matrix, side in systems])


def rounded_with_feedback(weights: Floats, moments: Floats, scales: Floats) -> Floats:
    """Whole numbers in -64..64, ``(groups, channels, inputs)``; see :func:`corrected` for the arguments."""
    inputs = weights.shape[2]
    # Inputs of the largest energy first: their error finds the most others to be made good by.
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2).mean(0), kind="stable")
    shares = np.stack([_shares(matrix) for matrix in _damped(moments[:, order][:, :, order], _DAMPING)])
    left = weights[:, :, order].copy()
    levels = np.empty_like(left)
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((*left.shape[:2], stop - start))
        for k in range(start, stop):
            levels[:, :, k] = rounded(left[:, :, k], scales[:, :, 0], WEIGHT_LIMIT)
            error = (left[:, :, k] - levels[:, :, k] * scales[:, :, 0]) / shares[:, k, k, None]
            left[:, :, k:stop] -= error[:, :, None] * shares[:, None, k, k:stop]
            errors[:, :, k - start] = error
        # Inputs behind the block get its errors in one product, not one by one.
        left[:, :, stop:] -= errors @ shares[:, start:stop, stop:]
    return levels[:, :, np.argsort(order)]


def corrected_by_few(weights: Floats, true: Floats, seen: Floats) -> Floats:
    """:func:`corrected` by inputs and not by their moments: ``W + W (X - Z)' (Z Z' + n ridge)^-1 Z``.

    Args:
        weights: ``(groups, channels, inputs)``.
        true: X, ``(groups, positions, inputs)``.
        seen: Z, likewise.
    """
    drift = (true - seen) @ weights.transpose(0, 2, 1)
    return weights + np.linalg.solve(_gram(seen, _RIDGE), drift).transpose(0, 2, 1) @ seen


def rounded_by_few(weights: Floats, seen: Floats, scales: Floats) -> Floats:
    """:func:`rounded_with_feedback` by inputs ``(groups, positions, inputs)`` and not by their moments.

    GPTQ spreads the error e of input k over each input j still to come as ``-e H^-1[k, j] / H^-1[k, k]``, H
    the moments of what is left. With ``H = Z'Z / n + d`` and P the inverse of ``Z Z' + n d``, that is
    ``e g'z_j`` for ``g = P z_k / (1 - z_k' P z_k)`` (Woodbury), so that the errors so far are one row of
    positions for each channel; and without input k, P is ``P + g (P z_k)'`` (Sherman and Morrison).
    """
    order = np.argsort(-np.square(seen).mean((0, 1)), kind="stable")
    left = np.linalg.inv(_gram(seen, _DAMPING))
    levels, errors = np.empty_like(weights), np.zeros((*weights.shape[:2], seen.shape[1]))
    for k in order:
        column = seen[:, :, k, None].astype(np.float64)
        wanted = weights[:, :, k] + (errors @ column)[:, :, 0]
        levels[:, :, k] = rounded(wanted, scales[:, :, 0], WEIGHT_LIMIT)
        along = left @ column
        gain = along / (1 - column.transpose(0, 2, 1) @ along)
        errors += (wanted - levels[:, :, k] * scales[:, :, 0])[:, :, None] * gain.transpose(0, 2, 1)
        left += gain * along.transpose(0, 2, 1)
    return levels


def _gram(seen: Floats, share: float) -> Floats:
    """``Z Z' + n d`` in float64, d so large a share of the inputs' mean energy (see :func:`_damped`)."""
    exact = seen.astype(np.float64)
    energy = np.maximum(share * np.square(exact).mean((1, 2)), 1e-9)
    positions = seen.shape[1]
    return exact @ exact.transpose(0, 2, 1) + positions * energy[:, None, None] * np.eye(positions)


def _shares(moments: Floats) -> Floats:
    """The upper triangular U with ``U' U = moments^-1``; row k says how the error of input k is shared out
    among those behind it.

    Factored from the last input to the first, ``moments = R R'`` with R upper triangular, so that U is the
    inverse of a triangle: a third of the work of inverting the whole and factoring that.
    """
    backwards = linalg.cholesky(moments[::-1, ::-1], lower=True, check_finite=False)[::-1, ::-1]
    (invert,) = linalg.get_lapack_funcs(("trtri",), (backwards,))
    inverse, problem = invert(backwards, lower=0)
    if problem:
        raise linalg.LinAlgError(f"a triangle with a zero at {problem} has no inverse")
    return np.triu(inverse)


def grouped(weights: npt.NDArray[np.float32], groups: int) -> npt.NDArray[np.float32]:
    """``(out, in / groups, kh, kw)`` as ``(groups, out / groups, inputs)``."""
    return weights.reshape(groups, len(weights) // groups, -1)


def patches(
    values: npt.NDArray[np.float32], node: onnx.NodeProto, kernel: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """What a convolution multiplies its weights with, ``(groups, positions, inputs)``, at up to 8192
    positions drawn by a fixed seed.
    """
    options: dict[str, Any] = {
        "group": 1,
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
    } | attributes(node)
    top, left, bottom, right = options["pads"]
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    (high, wide), (down, across) = options["dilations"], options["strides"]
    spans = ((kernel[0] - 1) * high + 1, (kernel[1] - 1) * wide + 1)
    windows = sliding_window_view(padded, spans, axis=(2, 3))[:, :, ::down, ::across, ::high, ::wide]
    images, channels, rows, columns = windows.shape[:4]
    total = images * rows * columns
    chosen = np.arange(total)
    if total > _POSITIONS:
        chosen = np.sort(np.random.default_rng(0).choice(total, _POSITIONS, replace=False))
    image, place = np.divmod(chosen, rows * columns)
    row, column = np.divmod(place, columns)
    groups = options["group"]
    cut = windows[image, :, row, column].reshape(
        len(chosen), groups, channels // groups * kernel[0] * kernel[1]
    )
    return np.ascontiguousarray(cut.transpose(1, 0, 2), np.float32)


def _damped(moments: Floats, share: float) -> Floats:
    """With so much of its mean added to the diagonal; a group whose inputs are all zero gets a little all the
    same.
    """
    energy = np.diagonal(moments, axis1=1, axis2=2).mean(-1)
    damped = moments.copy()
    diagonal = np.arange(moments.shape[-1])
    damped[:, diagonal, diagonal] += np.maximum(share * energy, 1e-9)[:, None]
    return damped
