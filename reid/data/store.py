"""Images decoded and resized once into a memory-mapped uint8 array, so that a training step touches no file and no codec."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.catalog import Catalog
from reid.errors import ReidError
from reid.files import atomic_path

__all__ = ["load_images", "open_store", "read_image"]

Images = npt.NDArray[np.uint8]


def read_image(path: Path, height: int, width: int) -> Images:
    """An image as (height, width, 3) uint8 RGB, resized with area averaging when it shrinks and linearly when it grows.

    Raises:
        ReidError: the file cannot be read or decoded.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ReidError(f"image {path} cannot be read ({error.strerror}): run the prepare stage again") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ReidError(f"image {path} is not an image: remove it and run the prepare stage again")
    shrinks = image.shape[0] > height and image.shape[1] > width
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB), np.uint8)


def load_images(
    paths: Sequence[Path], height: int, width: int, out: Images | None = None, progress: Callable[[int, int], None] | None = None
) -> Images:
    """All images as (N, height, width, 3) uint8 RGB, decoded by threads; into ``out`` where given."""
    images = np.empty((len(paths), height, width, 3), np.uint8) if out is None else out

    def fill(index: int) -> None:
        images[index] = read_image(paths[index], height, width)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(fill, range(len(paths))), 1):
            if progress is not None:
                progress(done, len(paths))
    return images


def open_store(catalog: Catalog, height: int, width: int, progress: Callable[[int, int], None] | None = None) -> Images:
    """The catalog's images as a read-only memory map, made at first use in ``.cache`` beside the catalog.

    The file's name carries the content hash of exactly these rows in this order, so a changed image or another selection gets
    another file.
    """
    content = hashlib.sha256("".join(catalog.column("sha256")).encode()).hexdigest()
    path = catalog.folder / ".cache" / f"{content[:24]}-{len(catalog)}x{height}x{width}.npy"
    if not path.exists():
        with atomic_path(path) as temporary:
            shape = (len(catalog), height, width, 3)
            images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            load_images(catalog.paths, height, width, images, progress)
            images.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)
