"""Which frames of a block are looked at, whatever the detector and the tracker are."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import supervision as sv

from serving.job.segments.adaptive_step import Blocks, Paced
from serving.job.segments.detector_queue import Seen
from serving.spec import AdaptiveSpec
from serving.video import Picture


class Follower:
    """Takes frames as a tracker does; until ``surprise`` everything is as foretold, and then from it on."""

    def __init__(self, surprise: int | None) -> None:
        self.surprise, self.at = surprise, 0
        self.asked: list[tuple[int, int]] = []

    def foretold(self, time_s: float, _: sv.Detections) -> bool:
        number = round(10 * time_s)
        self.asked.append((self.at, number))
        return self.surprise is None or not self.at < self.surprise <= number


def run(numbers: Sequence[int], blocks: Blocks, surprise: int | None = None, at_once: int = 2) -> Any:
    follower, looked, seen = Follower(surprise), list[int](), list[Seen]()

    def look(pictures: Sequence[tuple[Picture, bool]]) -> list[Seen]:
        looked.extend(one.number for one, _ in pictures)
        # A frame of its own would do nothing here but be handed on.
        return [Seen(one.number, one.time_s, one, sv.Detections.empty()) for one, _ in pictures]  # type: ignore[arg-type]

    with ThreadPoolExecutor(at_once) as pool:
        paced = Paced(blocks, follower.foretold, pool, at_once, 32, look, {})
        for number in numbers:
            for one in paced.give(Picture(number, number / 10, None)):  # type: ignore[arg-type]
                seen.append(one)
                follower.at = one.number if one.frame is not None else follower.at
        for one in paced.rest():
            seen.append(one)
            follower.at = one.number if one.frame is not None else follower.at
    assert [one.number for one in seen] == list(numbers)
    assert [one.number for one in seen if one.frame is not None] == sorted(looked)
    assert all(one.between == (one.frame is None) for one in seen)
    return sorted(looked)


def test_as_foretold_a_block_costs_one_look() -> None:
    assert run(range(1, 21), Blocks(4, 1, 1)) == [4, 8, 12, 16, 20]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_a_surprise_is_found_to_the_frame(at_once: int) -> None:
    # Frame 11 is where somebody comes: the block of 9 to 12 is halved until 10 and 11 were seen.
    assert run(range(1, 21), Blocks(4, 1, 1), 11, at_once) == [4, 8, 10, 11, 12, 16, 20]
    assert run(range(1, 21), Blocks(4, 1, 1), 9, at_once) == [4, 8, 9, 10, 12, 16, 20]


def test_blocks_end_where_a_segment_begins_to_own_frames_and_at_the_last_frame() -> None:
    assert run(range(1, 15), Blocks(4, 1, 7)) == [4, 6, 8, 12, 14]
    assert run(range(1, 42, 5), Blocks(2, 5, 21)) == [1, 11, 16, 21, 31, 41]


def test_segments_that_overlap_look_at_the_same_frames() -> None:
    before, after = run(range(1, 31), Blocks(4, 1, 1)), run(range(23, 61), Blocks(4, 1, 31))
    assert [one for one in before if one >= 23] == [one for one in after if one <= 30]


@pytest.mark.parametrize(
    ("fps", "step", "length"), [(10, 1, 4), (25, 1, 10), (25, 5, 2), (3.5, 1, 1), (10, 4, 1)]
)
def test_blocks_are_as_long_as_the_job_allows(fps: float, step: int, length: int) -> None:
    assert Blocks.of(AdaptiveSpec(enabled=True, longest_s=0.4), fps, step, 1).length == length


def test_large_pictures_make_short_blocks() -> None:
    paced = Paced(Blocks(10, 1, 1), lambda *_: True, ThreadPoolExecutor(1), 1, 4, list, {})  # type: ignore[arg-type]
    given = [len(list(paced.give(Picture(number, 0.0, None)))) for number in (1, 2)]  # type: ignore[arg-type]
    assert given == [0, 0]
    assert len(paced._waiting) == 1
