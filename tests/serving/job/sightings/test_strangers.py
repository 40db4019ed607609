import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.job.sightings.strangers import SeenStrangers, group_strangers


def rows(*angles: float) -> np.ndarray:
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def test_the_same_look_is_one_stranger_over_cameras() -> None:
    spans = np.array([[0, 5], [10, 15], [20, 25], [30, 35]], np.float64)
    assert group_strangers(rows(0.0, 1.5, 0.05, 1.45), ["a", "a", "b", "b"], spans, 0.3) == [1, 2, 1, 2]


def test_nobody_is_twice_in_one_picture() -> None:
    spans = np.array([[0, 10], [5, 15], [5, 15]], np.float64)
    assert group_strangers(rows(0.0, 0.0, 0.0), ["a", "a", "b"], spans, 0.3) == [1, 2, 1]


def test_travel_times_rule_out_who_cannot_have_come_that_fast() -> None:
    spans = np.array([[0, 10], [15, 20], [40, 50], [41, 45]], np.float64)
    looks = rows(0.0, 0.0, 0.0, 0.0)
    way = {frozenset("ab"): 20.0}
    assert group_strangers(looks, ["a", "b", "b", "c"], spans, 0.3) == [1, 1, 1, 1]
    assert group_strangers(looks, ["a", "b", "b", "c"], spans, 0.3, way) == [1, 2, 1, 1]
    # Also against the order of arrival: who is seen at b first cannot have been at a shortly before.
    assert group_strangers(looks[:2], ["b", "a"], spans[[1, 0]], 0.3, way) == [1, 2]
    assert group_strangers(looks[:2], ["a", "b"], np.full((2, 2), np.nan), 0.3, way) == [1, 1]


def test_strangers_of_earlier_jobs_keep_their_numbers() -> None:
    earlier = SeenStrangers(
        rows(0.0, 1.5, 0.1), ("a", "a", "b"), np.array([[0, 5], [3, 9], [np.nan, np.nan]]), (2, 7, 2)
    )
    spans = np.array([[100, 110], [100, 110], [120, 130], [2, 4]], np.float64)
    assert group_strangers(rows(1.45, 3.0, 0.05, 0.0), ["a", "b", "b", "a"], spans, 0.3, None, earlier) == [
        7,
        8,
        2,
        9,
    ]
    assert group_strangers(np.zeros((0, 2), np.float32), [], np.zeros((0, 2)), 0.3, None, earlier) == []


def test_no_stranger() -> None:
    assert group_strangers(np.zeros((0, 4), np.float32), [], np.zeros((0, 2)), 0.3) == []


@given(
    st.lists(
        st.tuples(st.floats(0, 6), st.sampled_from("ab"), st.integers(0, 40), st.integers(1, 9)), max_size=12
    ),
    st.floats(0.05, 1.5),
)
@settings(max_examples=80, deadline=None)
def test_groups_are_compact_and_possible(people: list[tuple[float, str, int, int]], limit: float) -> None:
    spans = np.array([(start, start + length) for _, _, start, length in people], np.float64).reshape(-1, 2)
    vectors = rows(*(angle for angle, *_ in people)).reshape(-1, 2)
    cameras = [camera for _, camera, *_ in people]
    numbers = group_strangers(vectors, cameras, spans, limit)
    assert sorted(set(numbers)) == list(range(1, len(set(numbers)) + 1))
    for i in range(len(people)):
        mates = [j for j in range(i) if numbers[j] == numbers[i]]
        for j in mates:
            assert cameras[i] != cameras[j] or spans[i, 1] < spans[j, 0] or spans[j, 1] < spans[i, 0]
        if mates:
            mean = vectors[mates].astype(np.float64).sum(axis=0)
            assert np.linalg.norm(mean / np.linalg.norm(mean) - vectors[i]) <= limit + 1e-6
