"""Footage that gives nothing is given up, and slow footage is not."""

import threading
import time
from collections.abc import Iterator

import pytest

from reid.errors import ReidError
from serving.video import Pulse, ahead


def test_what_gives_nothing_is_given_up_and_does_not_hold_the_process() -> None:
    stuck, pulse = threading.Event(), Pulse(stall_s=0.4)
    pulse.name = "hall.mp4"

    def frames() -> Iterator[int]:
        for number in range(3):
            pulse.beat()
            yield number
        stuck.wait()

    got = []
    began = time.monotonic()
    with pytest.raises(ReidError, match=r"video hall\.mp4: nothing came for 0\.4 s"):
        got.extend(ahead(frames(), 8, pulse))
    assert got == [0, 1, 2]
    assert time.monotonic() - began < 5
    stuck.set()


def test_slow_is_not_still() -> None:
    pulse = Pulse(stall_s=0.4)

    def frames() -> Iterator[int]:
        for number in range(12):
            time.sleep(0.1)
            pulse.beat()
            if number % 6 == 5:
                yield number

    reader = ahead(frames(), 1, pulse)
    assert next(reader) == 5
    time.sleep(1.0)  # who uses the frames may take longer than that
    assert list(reader) == [11]
