"""Images to embeddings with a torch model."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reid.errors import ReidError
from reid.models.embedder import EmbeddingModel, normalise

__all__ = ["activation_maps", "embed_blocks", "embed_images", "extract_features"]

Images = npt.NDArray[np.uint8]


def embed_images(
    model: EmbeddingModel, images: npt.NDArray[np.uint8], batch: int = 64
) -> npt.NDArray[np.float32]:
    """L2-normalised embeddings (N, D) float32 of (N, H, W, 3) uint8 RGB images, in evaluation mode; the
    model's mode is restored.
    """
    return _run(model, model.embed, images, batch)


def embed_blocks(
    models: Sequence[EmbeddingModel], blocks: Iterable[tuple[int, Images]], count: int
) -> list[npt.NDArray[np.float32]]:
    """Embeddings (N, D) by each of several models of images that are decoded once and never held together.

    Args:
        models: N images go through each.
        blocks: (number of the first image, images) as from :func:`reid.data.store.image_blocks`.
        count: N, of all blocks together.
    """
    result = [np.empty((count, model.dim), np.float32) for model in models]
    for start, images in blocks:
        for rows, model in zip(result, models, strict=True):
            rows[start : start + len(images)] = embed_images(model, images)
    return result


def extract_features(
    model: EmbeddingModel, images: npt.NDArray[np.uint8], batch: int = 64, *, necked: bool = False
) -> npt.NDArray[np.float32]:
    """Features before the BN-neck (N, D) float32, not normalised: what the metric losses see; ``necked``:
    those after it.
    """
    return _run(model, (lambda pixels: model.neck(model(pixels))) if necked else model, images, batch)


def activation_maps(
    model: EmbeddingModel, images: npt.NDArray[np.uint8], batch: int = 64
) -> npt.NDArray[np.float32]:
    """Where the backbone answers most: root mean square over its last maps' channels (Zagoruyko 2017, section
    3.1), (N, h, w) float32.
    """
    return _run(model, lambda pixels: model.backbone(pixels).square().mean(1).sqrt(), images, batch)


def _run(
    model: EmbeddingModel, apply: Callable[[Tensor], Tensor], images: npt.NDArray[np.uint8], batch: int
) -> npt.NDArray[np.float32]:
    was_training = model.training
    model.eval()
    device, result = next(model.parameters()).device, None
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            # a copy: the store is read-only
            pixels = torch.from_numpy(np.array(images[start : start + batch]))
            rows = apply(normalise(pixels.to(device))).float().cpu().numpy()
            if result is None:  # only the model knows the shape of a row
                result = np.empty((len(images), *rows.shape[1:]), np.float32)
            result[start : start + len(rows)] = rows
    model.train(was_training)
    if result is None:
        raise ReidError("there is no image to embed")
    return result
