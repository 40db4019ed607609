"""How the driver of a sweep is told of steps and epochs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ray.tune import Callback

from reid.files import read_json
from reid.training.ray_trial import STEP_FILE

__all__ = ["Listener"]


class Listener(Callback):
    """Passes the results of trials on to ``Listener.on_result``, and the steps in between, from the files in
    ``sweep``, to ``on_step``.

    Ray pickles callbacks with a sweep's state and brings them back with ``Tuner.restore``; so this one holds
    nothing of its own.
    """

    on_result: ClassVar[Callable[[str, dict[str, Any]], None] | None] = None
    on_step: ClassVar[Callable[[str, int], None] | None] = None
    sweep: ClassVar[Path | None] = None
    ask_every_s: ClassVar[float] = 2.0
    asked: ClassVar[float] = 0.0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Called by Ray Tune."""
        if Listener.on_result is not None:
            Listener.on_result(str(trial), result)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Called by Ray Tune several times a second."""
        if (
            Listener.on_step is None
            or Listener.sweep is None
            or time.monotonic() - Listener.asked < Listener.ask_every_s
        ):
            return
        Listener.asked = time.monotonic()
        for trial in trials:
            step = Listener.sweep / Path(trial.path).name / STEP_FILE
            if step.exists():
                Listener.on_step(str(trial), int(read_json(step, "step of a trial")))
