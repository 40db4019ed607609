"""Augmentations on whole batches of uint8 images: no Python per image."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.data.auto_augment import auto_augment
from reid.data.on_device import LUMINANCE, beside, chosen

__all__ = ["Augmentation", "augment", "erase"]

_TO_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
# Steps of the coefficients at quality 50 (ITU-T T.81, tables K.1 and K.2): of the luminance, of the colours.
_JPEG_STEPS = (
    ((16, 11, 10, 16, 24, 40, 51, 61),
     (12, 12, 14, 19, 26, 58, 60, 55),
     (14, 13, 16, 24, 40, 57, 69, 56),
     (14, 17, 22, 29, 51, 87, 80, 62),
     (18, 22, 37, 56, 68, 109, 103, 77),
     (24, 35, 55, 64, 81, 104, 113, 92),
     (49, 64, 78, 87, 103, 121, 120, 101),
     (72, 92, 95, 98, 112, 100, 103, 99)),
    ((17, 18, 24, 47, 99, 99, 99, 99),
     (18, 21, 26, 66, 99, 99, 99, 99),
     (24, 26, 56, 99, 99, 99, 99, 99),
     (47, 66, 99, 99, 99, 99, 99, 99),
     *((99,) * 8,) * 4),
)  # fmt: skip
_QUALITY = (10, 70)


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        flip: mirror half of the images.
        pad_crop: shift by up to so many pixels each way, the border repeated.
        erasing: share of the images that lose a rectangle (Zhong et al. 2020, with the mean after
            normalisation).
        colour_jitter: brightness, contrast and each colour channel vary by up to this share.
        min_crop: smallest share of an image that is cut out and enlarged to the whole; 1: none is.
        grey: share of the images that lose their colours.
        blur: share of the images that are blurred.
        compression: share of the images that are given the artefacts of JPEG, quality 10 to 70.
        auto_augment: share of the images that are changed by one operation of
            :mod:`reid.data.auto_augment`, drawn with its strength.
    """

    flip: bool = True
    pad_crop: int = 8
    erasing: float = 0.5
    colour_jitter: float = 0.2
    min_crop: float = 1.0
    grey: float = 0.0
    blur: float = 0.0
    compression: float = 0.0
    auto_augment: float = 0.0


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Flip, shift, cut out, change by one operation, recolour, blur and compress; each draws only where it is
    asked for.

    Args:
        images: (B, H, W, 3) uint8, on any device.
        how: what to vary.
        generator: the only source of chance, of the processor: every device gets the same draws.

    Returns:
        (B, H, W, 3) uint8; the caller normalises, then calls :func:`erase`.
    """
    count, height, width, _ = images.shape
    # small, and of integers: worked out where the draws are
    rows = torch.arange(height).expand(count, height)
    columns = torch.arange(width).expand(count, width)
    if how.flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if how.pad_crop:
        shift = torch.randint(-how.pad_crop, how.pad_crop + 1, (2, count, 1), generator=generator)
        rows = (rows + shift[0]).clamp(0, height - 1)
        columns = (columns + shift[1]).clamp(0, width - 1)
    # Whole pixels by their number in the batch: several times as fast as indexing by three arrays.
    place = (torch.arange(count)[:, None] * height + rows)[:, :, None] * width + columns[:, None, :]
    moved = images.reshape(-1, 3).index_select(0, beside(images, place.flatten())).view(images.shape)
    if how.min_crop < 1:
        moved = _cut_out(moved, how.min_crop, generator)
    if how.auto_augment:
        moved = auto_augment(moved, how.auto_augment, generator)
    if how.colour_jitter:
        j = how.colour_jitter
        gain = 1 + j * (2 * torch.rand(count, 1, 1, 3, generator=generator) - 1) * 0.5
        contrast = 1 + j * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
        brightness = 255 * j * 0.5 * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
        gain, contrast, brightness = (beside(images, one) for one in (gain, contrast, brightness))
        pixels = moved.float()
        mean = pixels.mean(dim=(1, 2), keepdim=True)
        offset = mean * (gain - contrast) + brightness
        moved = pixels.mul_(contrast).add_(offset).round_().clamp_(0, 255).to(torch.uint8)
    if how.grey:
        some = beside(moved, torch.rand(count, 1, 1, 1, generator=generator) < how.grey)
        luminance = (moved.float() @ beside(moved, torch.tensor(LUMINANCE))).round_().to(torch.uint8)
        moved = torch.where(some, luminance[..., None], moved)
    if how.blur:
        moved = _blurred(moved, how.blur, generator)
    return _compressed(moved, how.compression, generator) if how.compression else moved


def _cut_out(images: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """A part of each image enlarged to the whole: ``least`` to all of its area, sides in the images' own
    proportion times 3/4 to 4/3 (Szegedy et al. 2015, section 6).
    """
    count, height, width, _ = images.shape
    draw = torch.rand(4, count, generator=generator)
    area = least + (1 - least) * draw[0]
    ratio = torch.exp((draw[1] * 2 - 1) * math.log(4 / 3))
    tall, wide = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    where = torch.zeros(count, 2, 3)
    # In units of half an image from its middle, x before y.
    where[:, 0, 0], where[:, 0, 2] = wide, (1 - wide) * (2 * draw[2] - 1)
    where[:, 1, 1], where[:, 1, 2] = tall, (1 - tall) * (2 * draw[3] - 1)
    grid = beside(images, F.affine_grid(where, [count, 3, height, width], align_corners=False))
    pixels = images.permute(0, 3, 1, 2).float()
    found = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return found.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _blurred(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A random ``share`` of the images behind a Gaussian of standard deviation 0.1 to 2 pixels where 224 are
    the height (Chen et al. 2020, appendix A).
    """
    draw = torch.rand(2, len(images), generator=generator)
    rows = chosen(draw[0], share)
    scale = images.shape[1] / 224
    sigma = (0.1 + 1.9 * draw[1, rows]) * scale
    reach = math.ceil(3 * 2 * scale)
    places = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (places / sigma[:, None]) ** 2)
    weights /= weights.sum(1, keepdim=True)
    rows, weights = beside(images, rows), beside(images, weights)
    pixels = images[rows].float()
    for axis in (1, 2):
        size = pixels.shape[axis]
        parts = (
            pixels.index_select(axis, beside(images, (torch.arange(size) + place).clamp(0, size - 1)))
            for place in places
        )
        pixels = sum(
            (part * weight.view(-1, 1, 1, 1) for part, weight in zip(parts, weights.T, strict=True)),
            start=torch.zeros((), device=images.device),
        )
    return images.index_copy(0, rows, pixels.round_().clamp_(0, 255).to(torch.uint8))


def _compressed(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A random ``share`` of the images as JPEG of a random quality leaves them: the cosine coefficients of
    blocks of 8 x 8 pixels rounded to multiples of the quality's steps (ITU-T T.81). Colours keep their
    resolution (4:4:4); cameras mostly halve it.
    """
    draw = torch.rand(2, len(images), generator=generator)
    rows = chosen(draw[0], share)
    steps = _jpeg_steps(torch.round(_QUALITY[0] + (_QUALITY[1] - _QUALITY[0]) * draw[1, rows]))
    turn = torch.arange(8)
    cosine = torch.cos((2 * turn + 1) * turn[:, None] * math.pi / 16) / 2  # rows: frequencies
    cosine[0] /= math.sqrt(2)
    colours = torch.tensor((LUMINANCE, *_TO_CHROMA))
    back = torch.from_numpy(np.linalg.inv(colours.numpy()))  # torch's would let the processor wait for a GPU
    rows, steps, cosine, colours, back = (beside(images, one) for one in (rows, steps, cosine, colours, back))
    whole = images[rows]
    # The last blocks go beyond the picture, whose border is repeated there.
    padding = (0, -whole.shape[2] % 8, 0, -whole.shape[1] % 8)
    pixels = F.pad((whole.float() - 128).permute(0, 3, 1, 2), padding, mode="replicate").permute(0, 2, 3, 1)
    blocks = (pixels @ colours.T).unflatten(2, (-1, 8)).unflatten(1, (-1, 8))  # (B, H / 8, 8, W / 8, 8, 3)
    coefficients = torch.einsum("ux,bixjyc,vy->bijuvc", cosine, blocks, cosine)
    every = steps[:, None, None]
    rounded = (coefficients / every).round_() * every
    blocks = torch.einsum("ux,bijuvc,vy->bixjyc", cosine, rounded, cosine)
    pixels = (blocks.flatten(3, 4).flatten(1, 2) @ back.T + 128)[:, : whole.shape[1], : whole.shape[2]]
    return images.index_copy(0, rows, pixels.round_().clamp_(0, 255).to(torch.uint8))


def _jpeg_steps(quality: Tensor) -> Tensor:
    """Of the coefficients (B, 8, 8, 3) at these qualities (B,): vertical frequency, horizontal, channel; as
    the Independent JPEG Group's library calculates them, in whole numbers.
    """
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    at_50 = torch.tensor(_JPEG_STEPS)[[0, 1, 1]].permute(1, 2, 0)
    return ((at_50 * percent.view(-1, 1, 1, 1) + 50) / 100).floor().clamp(1, 255)


def erase(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set a rectangle (2 to 33 % of the area, side ratio 0.3 to 3.3) of a random ``share`` of the images to
    0, the mean.

    Args:
        images: (B, 3, H, W) float32, normalised, on any device; changed in place and returned.
        share: of the images.
        generator: the only source of chance.
    """
    count, _, height, width = images.shape
    draw = torch.rand(5, count, generator=generator)
    area = (0.02 + 0.31 * draw[0]) * height * width
    ratio = torch.exp((draw[1] * 2 - 1) * 1.2)
    tall = (area * ratio).sqrt().clamp(max=height)
    wide = (area / ratio).sqrt().clamp(max=width)
    top = (draw[2] * (height - tall))[:, None]
    left = (draw[3] * (width - wide))[:, None]
    y, x = torch.arange(height), torch.arange(width)
    inside_y = (y >= top) & (y < top + tall[:, None])
    inside_x = (x >= left) & (x < left + wide[:, None])
    inside_y, inside_x = beside(images, inside_y), beside(images, inside_x & (draw[4] < share)[:, None])
    return images.masked_fill_((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0.0)
