"""What a file tells of a stretch of footage without decoding it: how large its packets are."""

import numpy as np
import numpy.typing as npt

__all__ = ["PacketSizes"]

_WINDOW_S = 0.5  # over which packets are averaged: somebody is there for longer
_SIGMAS = 5.0  # mean absolute deviations; 4 standard deviations of Gaussian noise
_LEAST = 0.1  # of the logarithm: a tenth of the usual size
_SMALL = 16.0  # bytes; below it a packet's size is that of its headers
# Packets as equal as this, and as large, were filled up by an encoder of constant rate: none tells anything.
_EQUAL, _FILLED = 0.01, 64


class PacketSizes:
    """How large packets are while nothing moves. Each holds a picture's difference from others: what moves
    makes packets larger, and that is known without decoding them.

    Packets of frames of several kinds differ by a factor of ten, and while nothing moves a few are large
    without a reason. So logarithms are compared, for each stretch between two key frames: the largest mean
    over half a second, for who runs through, and the median of the whole, for who is small and slow.

    Args:
        fps: frames a second.
    """

    def __init__(self, fps: float) -> None:
        self._window = max(1, round(_WINDOW_S * fps))
        self._learned, self._mean, self._deviation = 0, np.zeros(2), np.zeros(2)

    def usual(self, sizes: npt.NDArray[np.int32]) -> bool:
        """Whether packets (N,) between two key frames are as small as those that were learned, and their
        sizes are of the kind that tells.
        """
        if not self._learned or not len(sizes):
            return False
        if sizes.mean() > _FILLED and np.std(sizes) < _EQUAL * sizes.mean():
            return False
        most = self._mean + np.maximum(_SIGMAS * self._deviation, _LEAST)
        return bool((self._measured(sizes) <= most).all())

    def learn(self, sizes: npt.NDArray[np.int32]) -> None:
        """Take packets (N,) between two key frames in which nothing has moved."""
        if not len(sizes):
            return
        self._learned += 1
        value, rate = self._measured(sizes), max(1 / self._learned, 0.1)
        self._deviation += rate * (np.abs(value - self._mean) * (self._learned > 1) - self._deviation)
        self._mean += rate * (value - self._mean)

    def _measured(self, sizes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        logarithms = np.log(sizes + _SMALL)
        window = min(self._window, len(sizes))
        sums = np.concatenate([[0.0], np.cumsum(logarithms)])
        return np.array([(sums[window:] - sums[:-window]).max() / window, np.median(logarithms)])
