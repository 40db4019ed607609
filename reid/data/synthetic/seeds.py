"""Random generators that depend on what is drawn, never on the order of drawing."""

import zlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A generator for one purpose and the numbers (person, camera, image) it concerns; equal arguments give
    equal streams.
    """
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(purpose.encode()), *numbers]))
