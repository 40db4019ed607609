"""What a job tells while it works. Displays are in :mod:`serving.display`."""

__all__ = ["Progress"]


class Progress:
    """What a job reports while it works; this one says nothing."""

    def start(self, camera: str, total: int) -> None:
        """A camera begins; ``total`` frames, 0 when unknown."""

    def advance(self, camera: str) -> None:
        """One frame is done."""

    def done(self, camera: str, problem: str | None) -> None:
        """A camera is finished, or has failed with ``problem``."""
