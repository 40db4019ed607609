"""Images decoded and resized once into a memory-mapped uint8 array, so that a training step touches no file and no codec."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.data.catalog import Catalog
from reid.files import allocate, atomic_path
from reid.images import read_image, resize

__all__ = ["load_images", "open_store"]

Images = npt.NDArray[np.uint8]


def load_images(
    paths: Sequence[Path], height: int, width: int, out: Images | None = None, progress: Callable[[int, int], None] | None = None
) -> Images:
    """All images as (N, height, width, 3) uint8 RGB, decoded by threads; into ``out`` where given."""
    images = np.empty((len(paths), height, width, 3), np.uint8) if out is None else out

    def fill(index: int) -> None:
        images[index] = resize(read_image(paths[index]), height, width)

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
        # Of people: their owner's alone.
        with atomic_path(path, mode=0o600) as temporary:
            shape = (len(catalog), height, width, 3)
            images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            allocate(temporary, temporary.stat().st_size)
            load_images(catalog.paths, height, width, images, progress)
            images.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)
