"""Python's collector of cycles during an epoch."""

import gc
import weakref

import pytest

from reid.training.loop import old_objects_frozen


class Ring:
    """Only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_old_objects_are_passed_over_within_and_looked_at_again_after() -> None:
    old = weakref.ref(Ring())
    with old_objects_frozen():
        young = weakref.ref(Ring())
        gc.collect()
        assert young() is None
        assert old() is not None
    gc.collect()
    assert old() is None


def test_an_error_within_ends_it_too() -> None:
    with pytest.raises(ValueError, match="within"), old_objects_frozen():
        raise ValueError("within")
    assert gc.get_freeze_count() == 0
