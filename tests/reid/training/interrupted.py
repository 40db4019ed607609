"""A training that is killed after its first epoch and continued, against one that is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reid.config import Params
from reid.training.loop import Epoch
from reid.training.trial import run_training

__all__ = ["assert_same_weights_after_a_kill"]


def assert_same_weights_after_a_kill(
    params: Params,
    name: str,
    catalog: Path,
    folder: Path,
    between: Callable[[Path], None] = lambda broken: None,
) -> tuple[Path, Path]:
    """Both end with the very same weights; returns the folders of the one that was not killed and of the one
    that was. ``between`` looks at the latter before it goes on.
    """
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir()
    broken.mkdir()
    run_training(params, name, catalog, whole)

    def kill(epoch: Epoch) -> None:
        if epoch.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(params, name, catalog, broken, on_epoch=kill)
    between(broken)
    run_training(params, name, catalog, broken)
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()
    return whole, broken
