"""Crops on disk to embeddings in memory: each thread decodes, resizes and embeds a batch at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from reid.images import Image, read_image
from reid.processors import processors
from serving.concurrency import map_ordered
from serving.runtime import Embedder

__all__ = ["FileEmbeddings", "Unreadable", "embed_files"]


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
    measured: npt.NDArray[np.float64]  # (N,) by the function given; empty without one


@dataclass(frozen=True, eq=False)
class _Chunk:
    embeddings: npt.NDArray[np.float32]
    index: list[int]
    unreadable: list[Unreadable]
    measured: list[float]


def embed_files(
    embedder: Embedder,
    paths: Sequence[Path],
    *,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    measure: Callable[[Image], float] | None = None,
) -> FileEmbeddings:
    """Embed image files; files that are no images are listed, not fatal.

    Args:
        embedder: from :func:`serving.runtime.load`.
        paths: image files.
        threads: that decode, resize and call the model, which lets ``embedder.at_once`` of them in; one per
            processor where None.
        on_progress: called with (done, all) after every batch.
        measure: what else is wanted of each image (H, W, 3) uint8 RGB while it is in memory.

    Raises:
        ReidError: the model fails.
    """

    def embed(part: range) -> _Chunk:
        images: list[Image] = []
        index: list[int] = []
        unreadable: list[Unreadable] = []
        for position in part:
            path = paths[position]
            try:
                images.append(read_image(path))
            except ReidError as error:
                unreadable.append(Unreadable(path, str(error)))
            else:
                index.append(position)
        embeddings = (
            embedder.run(embedder.prepare(images)) if images else np.empty((0, embedder.dim), np.float32)
        )
        measured = [] if measure is None else [measure(image) for image in images]
        return _Chunk(embeddings, index, unreadable, measured)

    threads = threads or processors()
    embeddings = np.empty((len(paths), embedder.dim), np.float32)
    kept: list[int] = []
    measured: list[float] = []
    lost: list[Unreadable] = []
    parts = (
        range(start, min(len(paths), start + embedder.batch))
        for start in range(0, len(paths), embedder.batch)
    )
    with ThreadPoolExecutor(threads) as pool:
        for chunk in map_ordered(pool, embed, parts, depth=2 * threads):
            embeddings[len(kept) : len(kept) + len(chunk.index)] = chunk.embeddings
            kept += chunk.index
            lost += chunk.unreadable
            measured += chunk.measured
            if on_progress is not None:
                on_progress(len(kept) + len(lost), len(paths))
    return FileEmbeddings(
        embeddings[: len(kept)].copy(),
        tuple(paths[i] for i in kept),
        np.asarray(kept, np.int64),
        tuple(lost),
        np.asarray(measured, np.float64),
    )
