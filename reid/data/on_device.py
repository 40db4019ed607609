"""From what the processor draws to where the images are."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["LUMINANCE", "beside", "chosen"]

LUMINANCE = (0.299, 0.587, 0.114)
"""Its share of red, green and blue (ITU-R BT.601)."""


def beside(images: Tensor, drawn: Tensor) -> Tensor:
    """``drawn`` where the images are. From pinned memory, so that the processor does not wait for a GPU."""
    if images.device.type == "cuda":
        drawn = drawn.pin_memory()
    return drawn.to(images.device, non_blocking=True)


def chosen(draw: Tensor, share: float) -> Tensor:
    """The images whose draw is below ``share``. By NumPy: these are numbers of the processor, and torch's
    ``nonzero`` is what a training on a GPU is watched for.
    """
    return torch.from_numpy(np.flatnonzero(draw.numpy() < share))
