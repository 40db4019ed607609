"""Crops on disk to embeddings in memory: files are decoded and resized by threads while the model runs on the batch before."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from reid.images import Image, read_image, resize
from serving.runtime.embedder import MAX_BATCH, Embedder, ahead, processors
from serving.runtime.preprocess import Batch

__all__ = ["FileEmbeddings", "Unreadable", "embed_files", "read_image"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no image, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, eq=False)
class FileEmbeddings:
    """What came of a list of image files."""

    embeddings: npt.NDArray[np.float32]  # (N, D), one row for each of ``paths``
    paths: tuple[Path, ...]  # the readable files, in the order given
    index: npt.NDArray[np.int64]  # (N,) where each of them stood in the list given
    unreadable: tuple[Unreadable, ...]


def _parts(count: int) -> Iterator[range]:
    """Cut ``count`` images into batches; the first are small, so that the model does not wait for a whole one."""
    start, size = 0, MAX_BATCH // 4
    while start < count:
        yield range(start, min(count, start + size))
        start, size = start + size, min(MAX_BATCH, 2 * size)


@dataclass(frozen=True, eq=False)
class _Chunk:
    batch: Batch
    index: list[int]
    unreadable: list[Unreadable]
    length: int


def embed_files(
    embedder: Embedder,
    paths: Sequence[Path],
    *,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> FileEmbeddings:
    """Embed image files; files that are no images are listed, not fatal.

    Args:
        embedder: from :func:`serving.runtime.load`.
        paths: image files.
        threads: that decode and resize; one per processor where None.
        on_progress: called with (done, all) after every batch.

    Raises:
        ReidError: the model fails.
    """
    spec = embedder.card.input

    def load(part: range) -> _Chunk:
        images: list[Image] = []
        index: list[int] = []
        unreadable: list[Unreadable] = []
        for position in part:
            path = paths[position]
            try:
                images.append(resize(read_image(path), spec.height, spec.width))
            except ReidError as error:
                unreadable.append(Unreadable(path, str(error)))
            else:
                index.append(position)
        return _Chunk(embedder.prepare(images), index, unreadable, len(images) + len(unreadable))

    threads = threads or processors()
    embeddings = np.empty((len(paths), embedder.dim), np.float32)
    kept: list[int] = []
    lost: list[Unreadable] = []
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for chunk in ahead(pool, load, _parts(len(paths)), depth=threads):
            if chunk.index:
                embeddings[len(kept) : len(kept) + len(chunk.index)] = embedder.run(chunk.batch)
            kept += chunk.index
            lost += chunk.unreadable
            done += chunk.length
            if on_progress is not None:
                on_progress(done, len(paths))
    return FileEmbeddings(embeddings[: len(kept)].copy(), tuple(paths[i] for i in kept), np.asarray(kept, np.int64), tuple(lost))
