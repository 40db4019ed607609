"""Running out of memory, said as which batch to try instead."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from reid.errors import ReidError

__all__ = ["advice", "memory_advice", "smaller_batch"]

# What torch's CPU allocator and oneDNN raise; neither has a type of its own.
_CPU_MESSAGES = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "could not create a memory object",
)


def smaller_batch(identities: int, images: int) -> tuple[int, int] | None:
    """The next P x K to try: half of the identities while at least 4 are left for mining, then half of the
    images; None at the end.
    """
    if identities >= 8:
        return identities // 2, images
    if images >= 4:
        return identities, images // 2
    return None


def advice(identities: int, images: int) -> str:
    """What to write into params.yaml after P x K was too much."""
    smaller = smaller_batch(identities, images)
    if smaller is None:
        return "try a smaller model.height and model.width, or another model.backbone"
    p, k = smaller
    own = f"; of a pre-training, batch: {p}" if k == 2 else ""  # which has two views of each image
    return f"try P x K = {p} x {k} (train.identities: {p}, train.images: {k}{own})"


@contextmanager
def memory_advice(identities: int, images: int) -> Iterator[None]:
    """Turn a failed allocation inside into an error that names the batch P x K and the next one to try.

    Raises:
        ReidError: the CPU's or the GPU's memory was not enough.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            words in str(error) for words in _CPU_MESSAGES
        )
        if not known:
            raise
        batch = f"P x K = {identities} x {images} = {identities * images} images"
        raise ReidError(f"out of memory with a batch of {batch}: {advice(identities, images)}") from error
