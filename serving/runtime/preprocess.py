"""From images of any size to the batch that a model file wants: resize, and for outside models colour, scale
and layout.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reid.card import InputSpec
from reid.errors import ReidError
from reid.images import Image, resize

__all__ = ["Batch", "Image", "Images", "check_image", "prepare", "resize"]

Images = Sequence[Image] | Image  # a list of images of any sizes, or one array (N, H, W, 3)
Batch = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def check_image(image: npt.NDArray[np.generic], index: int) -> None:
    """Check that one image is (h, w, 3) uint8 with at least one pixel.

    Raises:
        ReidError: it is not; the message names ``index``.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ReidError(
            f"image {index} is {image.dtype} of shape {image.shape}: want uint8 RGB of shape (height, "
            "width, 3)"
        )
    if 0 in image.shape:
        raise ReidError(
            f"image {index} has no pixel (shape {image.shape}): leave out boxes without area before embedding"
        )


def prepare(images: Images, spec: InputSpec, first_index: int = 0) -> Batch:
    """Make the model's input from images.

    Args:
        images: N images, (h, w, 3) uint8 RGB each, any mix of sizes.
        spec: what the model file wants.
        first_index: the number of the first image in messages.

    Returns:
        (N, H, W, 3) or (N, 3, H, W), uint8 or float32, contiguous.

    Raises:
        ReidError: an image is not uint8 RGB or has no pixel.
    """
    resized = np.empty((len(images), spec.height, spec.width, 3), np.uint8)
    for row, image in enumerate(images):
        check_image(image, first_index + row)
        resize(image, spec.height, spec.width, out=resized[row])
    if spec.colour == "bgr":
        resized = resized[..., ::-1]
    if spec.layout == "nchw":
        resized = resized.transpose(0, 3, 1, 2)
    if spec.dtype == "uint8":
        return np.ascontiguousarray(resized)
    # (x * scale - mean) / std in one multiplication and one addition, written in the model's own layout.
    per_channel = (1, 3, 1, 1) if spec.layout == "nchw" else (1, 1, 1, 3)
    std = np.asarray(spec.std, np.float64)
    gain = (spec.scale / std).astype(np.float32).reshape(per_channel)
    offset = (-np.asarray(spec.mean, np.float64) / std).astype(np.float32).reshape(per_channel)
    batch = np.empty(resized.shape, np.float32)
    np.multiply(resized, gain, out=batch)
    batch += offset
    return batch
