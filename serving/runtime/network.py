"""A model file with its tensors as they are, in any runtime: what they mean is for whoever opened it.

An embedder has one picture in and one row out and is opened by ``serving.runtime.load``; a detector may have
several outputs, and a second input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

__all__ = ["Network", "Port"]


@dataclass(frozen=True)
class Port:
    """An input or output: its name, its type as NumPy calls it, and its shape, None where any size will
    do.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]"


class Network(Protocol):
    """A file opened by one runtime; ``at_once`` calls of :meth:`run` may work side by side."""

    at_once: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, feeds: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The outputs for one array an input, both in the file's order.

        Raises:
            ReidError: the network fails on these.
        """
        ...

    def sized(self, height: int, width: int) -> "Network":
        """The same network for pictures (N, 3, height, width) at its first input.

        Raises:
            ReidError: the file's operators are made for its own size.
        """
        ...
