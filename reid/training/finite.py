"""Embeddings and losses that are not finite end a training, with the images that they came from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reid.errors import ReidError
from reid.metric import host

__all__ = ["FiniteCheck"]


class FiniteCheck:
    """Looks at what each step of an epoch calculates.

    In the processor's memory at once. Of what a GPU calculates a step later: the answer has come meanwhile,
    and the GPU has the next step to work on. The step that was already taken with it spoils nothing: the
    training ends, and its checkpoint is from the end of an epoch.

    Args:
        paths: the image of each row of the training data.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._waiting: list[tuple[int, str, npt.NDArray[np.int64], Callable[[], bool]]] = []

    def look(self, what: str, values: Tensor, step: int, rows: npt.NDArray[np.int64]) -> None:
        """Look at ``values``, which are ``what``, of a step whose batch was these rows; and at those of
        earlier steps.

        Raises:
            ReidError: they, or those before, are not finite.
        """
        self._settle(step)
        flag = torch.isfinite(values.detach()).all()
        if host.is_near(flag):
            if not flag:
                raise self._error(what, step, rows)
        else:
            self._waiting.append((step, what, rows, _answer(flag)))

    def end(self) -> None:
        """Look at what is left. Raises as :meth:`look` does."""
        self._settle(None)

    def _settle(self, step: int | None) -> None:
        while self._waiting and self._waiting[0][0] != step:
            at, what, rows, is_finite = self._waiting.pop(0)
            if not is_finite():
                raise self._error(what, at, rows)

    def _error(self, what: str, step: int, rows: npt.NDArray[np.int64]) -> ReidError:
        from reid.data.catalog import readable  # needs Parquet, which no training step does

        names = ", ".join(readable(self._paths[row]) for row in rows)
        return ReidError(
            f"{what} not finite at step {step}: lower train.learning_rate; the batch held {names}"
        )


def _answer(flag: Tensor) -> Callable[[], bool]:
    """What a 0-d bool on a GPU says, once it is asked for; it is on its way from now on."""
    if flag.device.type != "cuda":
        return lambda: bool(flag.numpy())
    here = torch.empty((), dtype=torch.bool, pin_memory=True)
    here.copy_(flag, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> bool:
        copied.synchronize()
        return bool(here.numpy())

    return wait
