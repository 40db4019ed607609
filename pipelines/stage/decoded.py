"""The decoded images of a catalog, which all stages share, and their embeddings; with progress bars."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.stage.console import progress_bar
from reid.data.catalog import Catalog
from reid.data.store import open_store, stored_blocks

if TYPE_CHECKING:
    from reid.models.embedder import EmbeddingModel

__all__ = ["decode", "embed"]


def decode(parts: Sequence[Catalog], height: int, width: int) -> None:
    """Make the stores of these images that were not made yet."""
    with progress_bar("decoding images") as progress:
        for part in parts:
            open_store(part, height, width, progress)


def embed(
    models: Sequence["EmbeddingModel"], parts: Sequence[Catalog], height: int, width: int
) -> list[npt.NDArray[np.float32]]:
    """Embeddings (N, D) by each model of the N images of ``parts``, one after the other; a block of images is
    held at a time.
    """
    from reid.models.inference import embed_blocks

    decode(parts, height, width)
    with progress_bar("embedding") as progress:
        blocks = stored_blocks(parts, height, width, progress)
        return embed_blocks(models, blocks, sum(map(len, parts)))
