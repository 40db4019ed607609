"""How the driver of a sweep hears of epochs."""

from collections.abc import Callable
from typing import Any, ClassVar

from ray.tune import Callback

__all__ = ["Listener"]


class Listener(Callback):
    """Passes the results of trials on to whoever is set as ``Listener.heard``.

    Ray pickles callbacks with a sweep's state and brings them back with ``Tuner.restore``; so this one holds nothing of its own.
    """

    heard: ClassVar[Callable[[str, dict[str, Any]], None] | None] = None

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Called by Ray Tune."""
        if Listener.heard is not None:
            Listener.heard(str(trial), result)
