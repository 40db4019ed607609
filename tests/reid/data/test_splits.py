from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.data.catalog import Record
from reid.data.splits import choose_test_people, hold_out_validation, split_people
from reid.errors import ReidError


def people(count: int, cameras: int = 2, images: int = 3) -> list[Record]:
    return [
        Record(Path(f"{person:03d}_{camera}_{image}.jpg"), f"{person:03d}", str(camera), "train")
        for person in range(count)
        for camera in range(cameras)
        for image in range(images)
    ]


@given(
    st.integers(4, 40),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.floats(0.05, 0.9),
    st.integers(0, 99),
)
def test_nobody_is_in_two_camps_and_nothing_is_lost(
    count: int, cameras: int, images: int, queries: int, share: float, seed: int
) -> None:
    records = people(count, cameras, images)
    test = choose_test_people((r.identity for r in records), share, seed)
    result = hold_out_validation(split_people(records, test, queries), 0.2, seed)
    assert [r.path for r in result] == [r.path for r in records]
    camps = defaultdict(set)
    for record in result:
        camps[record.identity].add({"query": "test", "gallery": "test"}.get(record.split, record.split))
    assert all(len(camp) == 1 for camp in camps.values())
    assert {identity for identity, camp in camps.items() if camp == {"test"}} == test
    assert len(test) >= 2
    assert len(test) <= count - 2


def test_each_camera_asks_and_answers() -> None:
    result = split_people(people(6), {"000", "001"}, 1)
    mine = [r.split for r in result if r.identity == "000"]
    assert mine == ["query", "gallery", "gallery"] * 2


def test_single_images_ask_in_the_first_camera_only() -> None:
    result = split_people(people(4, images=1), {"000"}, 1)
    assert [r.split for r in result if r.identity == "000"] == ["query", "gallery"]


def test_the_draw_depends_on_the_seed_alone() -> None:
    names = [f"{number}" for number in range(30)]
    assert choose_test_people(names, 0.3, 1) == choose_test_people(reversed(names), 0.3, 1)
    assert choose_test_people(names, 0.3, 1) != choose_test_people(names, 0.3, 2)


def test_too_few_people() -> None:
    with pytest.raises(ReidError, match="3 people"):
        choose_test_people("abc", 0.5, 0)
