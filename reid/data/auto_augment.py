"""One change of random kind and strength for an image, with nothing to tune but how many images get one:
TrivialAugment (Müller & Hutter 2021), with the operations and ranges of RandAugment (Cubuk et al. 2020) and
not the wide ones, which turn an image by up to 135 degrees: people in crops stand upright and fill them.

Here strengths have no steps, shears and rotations are about the image's middle, and where an image has moved
away its border is repeated, as everywhere in :mod:`reid.data.transforms`.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import equalize

from reid.data.on_device import LUMINANCE, beside, chosen

__all__ = ["OPERATIONS", "apply_operations", "auto_augment"]

_SHEAR = 0.3
_SHIFT = 10 / 32  # of a side: the space is one for images of 32 x 32 pixels
_TURN = math.radians(30)
_BLEND = 0.9
_BITS = 4  # that posterising takes at most


def auto_augment(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A random ``share`` of the images, each changed by one operation.

    Args:
        images: (B, H, W, 3) uint8, on any device.
        share: of the images.
        generator: the only source of chance, of the processor: every device gets the same draws.

    Returns:
        (B, H, W, 3) uint8.
    """
    draw = torch.rand(2, len(images), generator=generator)
    operations = torch.randint(len(OPERATIONS), (len(images),), generator=generator)
    rows = chosen(draw[0], share)
    places = beside(images, rows)
    changed = apply_operations(images[places], operations[rows], 2 * draw[1, rows] - 1)
    return images.index_copy(0, places, changed)


def apply_operations(images: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Each image changed by an operation of its own.

    Args:
        images: (B, H, W, 3) uint8, on any device.
        operations: (B,) int64, places in :data:`OPERATIONS`, in the processor's memory.
        strengths: (B,) float32, -1 to 1, likewise; operations without two directions look at the size alone.

    Returns:
        (B, H, W, 3) uint8.
    """
    # What gets the same operation lies together: as many calls as there are operations, whatever the batch.
    order = np.argsort(operations.numpy(), kind="stable")
    counts = np.bincount(operations.numpy(), minlength=len(OPERATIONS)).tolist()
    rows = beside(images, torch.from_numpy(order))
    ordered = beside(images, strengths[torch.from_numpy(order)].view(-1, 1, 1, 1))
    pixels = images[rows].permute(0, 3, 1, 2).float()
    changed = torch.cat(
        [
            change(part, strength)
            for change, part, strength in zip(
                OPERATIONS.values(), pixels.split(counts), ordered.split(counts), strict=True
            )
            if len(part)
        ]
        or [pixels]
    )
    changed = changed.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return images.index_copy(0, rows, changed)


def _warped(pixels: Tensor, across: tuple[Tensor | float, ...], down: tuple[Tensor | float, ...]) -> Tensor:
    """Each pixel taken from ``across`` and ``down``, each factors of x and y and an offset, in units of half
    an image from its middle.
    """
    where = pixels.new_zeros(len(pixels), 2, 3)
    for row, factors in enumerate((across, down)):
        for column, factor in enumerate(factors):
            where[:, row, column] = factor.flatten() if isinstance(factor, Tensor) else factor
    grid = F.affine_grid(where, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _shear_x(pixels: Tensor, strength: Tensor) -> Tensor:
    height, width = pixels.shape[2:]
    return _warped(pixels, (1.0, _SHEAR * height / width * strength, 0.0), (0.0, 1.0, 0.0))


def _shear_y(pixels: Tensor, strength: Tensor) -> Tensor:
    height, width = pixels.shape[2:]
    return _warped(pixels, (1.0, 0.0, 0.0), (_SHEAR * width / height * strength, 1.0, 0.0))


def _translate_x(pixels: Tensor, strength: Tensor) -> Tensor:
    return _warped(pixels, (1.0, 0.0, 2 * _SHIFT * strength), (0.0, 1.0, 0.0))


def _translate_y(pixels: Tensor, strength: Tensor) -> Tensor:
    return _warped(pixels, (1.0, 0.0, 0.0), (0.0, 1.0, 2 * _SHIFT * strength))


def _rotate(pixels: Tensor, strength: Tensor) -> Tensor:
    (height, width), turn = pixels.shape[2:], _TURN * strength
    cosine, sine = turn.cos(), turn.sin()
    return _warped(pixels, (cosine, -height / width * sine, 0.0), (width / height * sine, cosine, 0.0))


def _blended(pixels: Tensor, other: Tensor | float, strength: Tensor) -> Tensor:
    """``other`` at a factor of 0, the pixels at 1, beyond them above."""
    return (1 + _BLEND * strength) * (pixels - other) + other


def _brightness(pixels: Tensor, strength: Tensor) -> Tensor:
    return _blended(pixels, 0.0, strength)


def _contrast(pixels: Tensor, strength: Tensor) -> Tensor:
    return _blended(pixels, _grey(pixels).mean((1, 2, 3), keepdim=True), strength)


def _saturation(pixels: Tensor, strength: Tensor) -> Tensor:
    return _blended(pixels, _grey(pixels), strength)


def _sharpness(pixels: Tensor, strength: Tensor) -> Tensor:
    # A mean of 3 x 3 pixels, the middle one of five times the weight, as Pillow's SMOOTH.
    smooth = (9 * F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1) + 4 * pixels) / 13
    return _blended(pixels, smooth, strength)


def _posterise(pixels: Tensor, strength: Tensor) -> Tensor:
    step = (_BITS * strength.abs()).round_().exp2_()
    return (pixels / step).floor_() * step


def _solarise(pixels: Tensor, strength: Tensor) -> Tensor:
    return torch.where(pixels < 255 * (1 - strength.abs()), pixels, 255 - pixels)


def _auto_contrast(pixels: Tensor, strength: Tensor) -> Tensor:
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) * (255 / (high - low).clamp_min(1)), pixels)


def _equalise(pixels: Tensor, strength: Tensor) -> Tensor:
    equal: Tensor = equalize(pixels.to(torch.uint8))
    return equal.float()


def _identity(pixels: Tensor, strength: Tensor) -> Tensor:
    return pixels


def _grey(pixels: Tensor) -> Tensor:
    red, green, blue = (share * channel for share, channel in zip(LUMINANCE, pixels.split(1, 1), strict=True))
    return red + green + blue


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "sharpness": _sharpness,
    "posterise": _posterise,
    "solarise": _solarise,
    "auto_contrast": _auto_contrast,
    "equalise": _equalise,
}
"""By name: a change of pixels (B, 3, H, W), float32 of 0 to 255, by strengths (B, 1, 1, 1)."""
