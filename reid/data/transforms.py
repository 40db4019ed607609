"""Augmentations on whole batches of uint8 images: no Python per image."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Augmentation", "augment", "erase"]


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        flip: mirror half of the images.
        pad_crop: shift by up to so many pixels each way, the border repeated.
        erasing: share of the images that lose a rectangle (Zhong et al. 2020, with the mean after
            normalisation).
        colour_jitter: brightness, contrast and each colour channel vary by up to this share.
    """

    flip: bool = True
    pad_crop: int = 8
    erasing: float = 0.5
    colour_jitter: float = 0.2


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Flip, shift and recolour.

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
    moved = images.reshape(-1, 3).index_select(0, _beside(images, place.flatten())).view(images.shape)
    if how.colour_jitter:
        j = how.colour_jitter
        gain = 1 + j * (2 * torch.rand(count, 1, 1, 3, generator=generator) - 1) * 0.5
        contrast = 1 + j * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
        brightness = 255 * j * 0.5 * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
        gain, contrast, brightness = (_beside(images, one) for one in (gain, contrast, brightness))
        pixels = moved.float()
        mean = pixels.mean(dim=(1, 2), keepdim=True)
        offset = mean * (gain - contrast) + brightness
        moved = pixels.mul_(contrast).add_(offset).round_().clamp_(0, 255).to(torch.uint8)
    return moved


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
    inside_y, inside_x = _beside(images, inside_y), _beside(images, inside_x & (draw[4] < share)[:, None])
    return images.masked_fill_((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0.0)


def _beside(images: Tensor, drawn: Tensor) -> Tensor:
    """``drawn`` where the images are. From pinned memory, so that the processor does not wait for a GPU."""
    if images.device.type == "cuda":
        drawn = drawn.pin_memory()
    return drawn.to(images.device, non_blocking=True)
