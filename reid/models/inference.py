"""Images to embeddings with a torch model."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reid.models.embedder import EmbeddingModel, normalise

__all__ = ["activation_maps", "embed_images", "extract_features"]


def embed_images(model: EmbeddingModel, images: npt.NDArray[np.uint8], batch: int = 64) -> npt.NDArray[np.float32]:
    """L2-normalised embeddings (N, D) float32 of (N, H, W, 3) uint8 RGB images, in evaluation mode; the model's mode is restored."""
    return _run(model, model.embed, images, batch)


def extract_features(model: EmbeddingModel, images: npt.NDArray[np.uint8], batch: int = 64) -> npt.NDArray[np.float32]:
    """Features before the BN-neck (N, D) float32, not normalised: what the metric losses see."""
    return _run(model, model, images, batch)


def activation_maps(model: EmbeddingModel, images: npt.NDArray[np.uint8], batch: int = 64) -> npt.NDArray[np.float32]:
    """Where the trunk answers most: root mean square over its last maps' channels (Zagoruyko 2017, section 3.1), (N, h, w) float32."""
    return _run(model, lambda pixels: model.backbone(pixels).square().mean(1).sqrt(), images, batch)


def _run(model: EmbeddingModel, apply: Callable[[Tensor], Tensor], images: npt.NDArray[np.uint8], batch: int) -> npt.NDArray[np.float32]:
    was_training = model.training
    model.eval()
    parts, device = [], next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(np.array(images[start : start + batch]))  # a copy: the store is read-only
            parts.append(apply(normalise(pixels.to(device))).float().cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)
