"""Where nobody is seen by two cameras: which images stand for two views, and that neighbours in time are
never among them.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.evaluation import rank_gallery
from reid.evaluation.within_camera import gallery_apart, neighbours, seen_by_two, views


def strings(*values: str) -> np.ndarray:
    return np.asarray(values, np.str_)


def test_two_cameras_change_nothing() -> None:
    identities, cameras = strings("a", "a", "b"), strings("1", "2", "1")
    ranked = views(identities, cameras, np.arange(3))
    assert not ranked.within
    assert ranked.rows.tolist() == [0, 1, 2]
    assert ranked.cameras is cameras
    assert not seen_by_two(strings("-1", "-1", "b"), cameras), "junk is nobody"


def test_earlier_images_stand_against_later_ones() -> None:
    """Six images of a, out of order: the middle one is left out; b has two alone, which are neighbours, so b
    has no match.
    """
    identities = strings(*"aaaaaabb")
    order = np.array([50, 10, 40, 20, 60, 30, 1, 2])
    ranked = views(identities, strings(*"11111122"), order)
    assert ranked.within
    assert dict(zip(ranked.rows.tolist(), ranked.cameras.tolist(), strict=True)) == {
        1: "1, earlier", 3: "1, earlier", 5: "1, earlier", 0: "1, later",
        4: "1, later", 6: "2, earlier", 7: "2, earlier",
    }  # fmt: skip


def test_people_of_two_images_each_are_better_than_no_figure() -> None:
    ranked = views(strings(*"aabbc"), strings(*"11111"), np.arange(5))
    assert ranked.cameras.tolist() == ["1, earlier", "1, later", "1, earlier", "1, later", "1, earlier"]


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(0, 99))
def test_no_match_is_a_neighbour_in_time(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    identities = strings(*(name for name, count in zip("abcdef", counts, strict=False) for _ in range(count)))
    order = rng.permutation(len(identities))
    ranked = views(identities, np.full(len(identities), "1"), order)
    for name, count in zip("abcdef", counts, strict=False):
        own = np.flatnonzero(identities == name)
        place = {row: number for number, row in enumerate(own[np.argsort(order[own])].tolist())}
        parts = [
            [place[row] for row, camera in zip(ranked.rows.tolist(), ranked.cameras.tolist(), strict=True)
             if identities[row] == name and camera.endswith(word)]
            for word in ("earlier", "later")
        ]  # fmt: skip
        if count >= 3:
            assert min(parts[1]) - max(parts[0]) > neighbours(count)
            assert sum(map(len, parts)) == count - neighbours(count)
            assert abs(len(parts[0]) - len(parts[1])) <= 1
        elif max(counts) >= 3:
            assert not parts[1]


def test_a_burst_does_not_find_itself() -> None:
    """Each image is nearly its neighbour and nothing else: with neighbours in, ranking is perfect, and says
    nothing.
    """
    rng = np.random.default_rng(0)
    people, images = 20, 16
    identities = np.repeat(np.arange(people).astype(np.str_), images)
    walk = np.cumsum(rng.normal(size=(people, images, 8)), axis=1).reshape(-1, 8).astype(np.float32)
    ranked = views(identities, np.full(len(identities), "1"), np.arange(len(identities)))
    kept = walk[ranked.rows], identities[ranked.rows], ranked.cameras
    naive = (walk, identities, np.arange(len(walk)).astype(np.str_))  # every image a camera of its own
    assert rank_gallery(*naive, *naive).cmc[0] > rank_gallery(*kept, *kept).cmc[0] + 0.1


def test_the_gallery_lacks_the_neighbours_of_a_query() -> None:
    """Of eight images of a the third asks: those beside it are left out. Images of b in a camera of its own
    stay.
    """
    query = strings("a"), strings("1"), np.array([2])
    gallery = strings(*"aaaaaaabb"), strings(*"111111122"), np.array([0, 1, 3, 4, 5, 6, 7, 1, 2])
    assert gallery_apart(*query, *gallery).tolist() == [0, 3, 4, 5, 6, 7, 8]


def test_a_pair_is_kept_where_nobody_has_more() -> None:
    query, gallery = (
        (strings(*"ab"), strings(*"11"), np.array([0, 0])),
        (strings(*"ab"), strings(*"11"), np.array([1, 1])),
    )
    assert gallery_apart(*query, *gallery).tolist() == [0, 1]


@pytest.mark.parametrize(("images", "wanted"), [(1, 1), (8, 1), (16, 2), (40, 5)])
def test_neighbours_are_an_eighth(images: int, wanted: int) -> None:
    assert neighbours(images) == wanted
