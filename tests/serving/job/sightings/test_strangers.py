import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.job.sightings.evidence import Evidence
from serving.job.sightings.strangers import SeenStrangers, group_strangers


def rows(*angles: float) -> np.ndarray:
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def test_the_same_look_is_one_stranger_over_cameras() -> None:
    spans = np.array([[0, 5], [10, 15], [20, 25], [30, 35]], np.float64)
    seen = Evidence(["a", "a", "b", "b"], spans)
    assert group_strangers(rows(0.0, 1.5, 0.05, 1.45), seen, 0.3) == [1, 2, 1, 2]


def test_nobody_is_twice_in_one_picture() -> None:
    spans = np.array([[0, 10], [5, 15], [5, 15]], np.float64)
    assert group_strangers(rows(0.0, 0.0, 0.0), Evidence(["a", "a", "b"], spans), 0.3) == [1, 2, 1]


def test_travel_times_rule_out_who_cannot_have_come_that_fast() -> None:
    spans = np.array([[0, 10], [15, 20], [40, 50], [41, 45]], np.float64)
    looks = rows(0.0, 0.0, 0.0, 0.0)
    way = {frozenset("ab"): 20.0}
    cameras = ["a", "b", "b", "c"]
    assert group_strangers(looks, Evidence(cameras, spans), 0.3) == [1, 1, 1, 1]
    assert group_strangers(looks, Evidence(cameras, spans, least_s=way), 0.3) == [1, 2, 1, 1]
    # Also against the order of arrival: who is seen at b first cannot have been at a shortly before.
    assert group_strangers(looks[:2], Evidence(["b", "a"], spans[[1, 0]], least_s=way), 0.3) == [1, 2]
    no_clock = Evidence(["a", "b"], np.full((2, 2), np.nan), least_s=way)
    assert group_strangers(looks[:2], no_clock, 0.3) == [1, 1]


def test_a_group_is_as_near_as_its_sightings_are_and_not_their_mean() -> None:
    """Sightings at 0 and 1 have a mean at 0.5, which is 0.5 from both; one at 0.9 is near to the mean and to
    the second, but far from the first.
    """
    spans = np.array([[0, 1], [2, 3], [4, 5]], np.float64)
    looks = rows(0.0, 1.0, 0.9)
    apart = [float(np.linalg.norm(looks[2] - one)) for one in looks[:2]]
    both = float(np.sqrt(np.mean(np.square(apart))))
    seen = Evidence(["a", "b", "c"], spans)
    assert group_strangers(looks, seen, both + 1e-6, people=[[0, 1], [2]]) == [1, 1]
    assert group_strangers(looks, seen, both - 1e-6, people=[[0, 1], [2]]) == [1, 2]


def test_strangers_of_earlier_jobs_keep_their_numbers() -> None:
    earlier = SeenStrangers(
        rows(0.0, 1.5, 0.1), ("a", "a", "b"), np.array([[0, 5], [3, 9], [np.nan, np.nan]]), (2, 7, 2)
    )
    spans = np.array([[100, 110], [100, 110], [120, 130], [2, 4]], np.float64)
    seen = Evidence(["a", "b", "b", "a"], spans)
    found = group_strangers(rows(1.45, 3.0, 0.05, 0.0), seen, 0.3, earlier=earlier)
    assert found == [7, 8, 2, 9]
    nobody = Evidence([], np.zeros((0, 2)))
    assert group_strangers(np.zeros((0, 2), np.float32), nobody, 0.3, earlier=earlier) == []


def test_no_stranger() -> None:
    assert group_strangers(np.zeros((0, 4), np.float32), Evidence([], np.zeros((0, 2))), 0.3) == []


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
    numbers = group_strangers(vectors, Evidence(cameras, spans), limit)
    assert sorted(set(numbers)) == list(range(1, len(set(numbers)) + 1))
    for i in range(len(people)):
        mates = [j for j in range(i) if numbers[j] == numbers[i]]
        for j in mates:
            assert cameras[i] != cameras[j] or spans[i, 1] < spans[j, 0] or spans[j, 1] < spans[i, 0]
        if mates:
            apart = np.linalg.norm(vectors[mates].astype(np.float64) - vectors[i], axis=1)
            assert np.sqrt(np.mean(apart**2)) <= limit + 1e-6
