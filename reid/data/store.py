"""Images decoded and resized, once for all stages: into a file beside the catalog, which training maps into
memory and others pass over in blocks.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.data.catalog import Catalog
from reid.files import atomic_path
from reid.images import read_image, resize

__all__ = [
    "BLOCK",
    "image_blocks",
    "load_images",
    "load_rows",
    "open_store",
    "stored_blocks",
]

Images = npt.NDArray[np.uint8]
BLOCK = 512
"""Images of a block: a multiple of the batches that models are fed with, so that blocks change no batch."""


def load_images(
    paths: Sequence[Path], height: int, width: int, progress: Callable[[int, int], None] | None = None
) -> Images:
    """All images as (N, height, width, 3) uint8 RGB, decoded by threads."""
    images = np.empty((len(paths), height, width, 3), np.uint8)

    def fill(index: int) -> None:
        images[index] = resize(read_image(paths[index]), height, width)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(fill, range(len(paths))), 1):
            if progress is not None:
                progress(done, len(paths))
    return images


def image_blocks(
    paths: Sequence[Path], height: int, width: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, Images]]:
    """The images of ``paths`` in order, ``BLOCK`` at a time, as (number of the first, (n, height, width, 3)
    uint8 RGB).

    The next block is decoded while the caller works on this one; no more than these two are held.
    """
    with ThreadPoolExecutor(1) as ahead:

        def begin(start: int) -> Future[Images]:
            return ahead.submit(load_images, paths[start : start + BLOCK], height, width)

        waiting = begin(0)
        for start in range(0, len(paths), BLOCK):
            images = waiting.result()
            waiting = begin(start + BLOCK)
            yield start, images
            if progress is not None:
                progress(start + len(images), len(paths))


def open_store(
    catalog: Catalog, height: int, width: int, progress: Callable[[int, int], None] | None = None
) -> Images:
    """The catalog's images as a read-only memory map, made at first use in ``.cache`` beside the catalog.

    The file's name carries the content hash of exactly these rows in this order, so a changed image or
    another selection gets another file.
    """
    path = _store_of(catalog, height, width)
    if not path.exists():
        # Written, not mapped: pages of a map count as memory until they are on the disk, and a disk that
        # fills ends the process. Of people: their owner's alone.
        with atomic_path(path, mode=0o600) as temporary, temporary.open("wb") as stream:
            shape = (len(catalog), height, width, 3)
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            for _, images in image_blocks(catalog.paths, height, width, progress):
                stream.write(images.data)
    return _mapped(path)


def stored_blocks(
    parts: Sequence[Catalog], height: int, width: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, Images]]:
    """The images of several catalogs, one after the other, as :func:`image_blocks` gives them, from their
    stores; these are made where they are missing.
    """
    for part in parts:
        open_store(part, height, width)
    files = [_store_of(part, height, width) for part in parts]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    total = ends[-1]
    for start in range(0, total, BLOCK):
        # Mapped anew for each block: what was read through a map counts as memory for as long as it is open.
        pieces = [
            _mapped(file)[max(0, start - end + len(part)) : max(0, start + BLOCK - end + len(part))]
            for file, part, end in zip(files, parts, ends, strict=True)
        ]
        images = np.concatenate(pieces)
        yield start, images
        if progress is not None:
            progress(start + len(images), total)


def load_rows(
    catalog: Catalog,
    rows: Sequence[int],
    height: int,
    width: int,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Some images of a catalog, as :func:`load_images` gives them: from its store, or where that was not
    made, decoded alone.
    """
    path = _store_of(catalog, height, width)
    if path.exists():
        return np.array(_mapped(path)[np.asarray(rows, np.intp)])
    paths = catalog.paths
    return load_images([paths[row] for row in rows], height, width, progress)


def _store_of(catalog: Catalog, height: int, width: int) -> Path:
    content = hashlib.sha256("".join(catalog.column("sha256")).encode()).hexdigest()[:24]
    return catalog.folder / ".cache" / f"{content}-{len(catalog)}x{height}x{width}.npy"


def _mapped(path: Path) -> Images:
    images: Images = np.load(path, mmap_mode="r", allow_pickle=False)
    return images
