"""People in groups, and groups that keep their numbers."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError
from reid.metric.division import divided, matched


@given(seed=st.integers(0, 999), groups=st.integers(2, 4), people=st.integers(8, 14))
@settings(deadline=None, max_examples=15)
def test_everybody_is_in_one_group_with_another(seed: int, groups: int, people: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(people), rng.integers(0, people, 3 * people)])
    embeddings = rng.normal(size=(len(labels), 5)).astype(np.float32)
    embeddings[labels == 0] = 100.0  # somebody whom k-means leaves alone
    group = divided(embeddings, labels, groups, seed)
    assert group.shape == labels.shape
    of_person = [set(group[labels == person].tolist()) for person in range(people)]
    assert all(len(found) == 1 for found in of_person)
    sizes = [sum(found == {number} for found in of_person) for number in range(groups)]
    assert sum(sizes) == people and min(sizes) >= 2
    assert np.array_equal(group, divided(embeddings, labels, groups, seed))


def test_groups_are_those_that_the_embeddings_show() -> None:
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(9), 4)
    centres = np.eye(3)[np.arange(9) % 3]
    embeddings = (7 * centres[labels] + 0.1 * rng.normal(size=(36, 3))).astype(np.float32)
    group = divided(embeddings, labels, 3, 0)
    assert len(set(zip(group.tolist(), (labels % 3).tolist(), strict=True))) == 3


@given(seed=st.integers(0, 999), groups=st.integers(2, 5))
@settings(deadline=None, max_examples=40)
def test_no_other_numbering_leaves_more_images_where_they_were(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    group, earlier = rng.integers(0, groups, 40), rng.integers(0, groups, 40)
    kept = [(np.array(order)[group] == earlier).sum() for order in permutations(range(groups))]
    result = matched(group, earlier, groups)
    assert (result == earlier).sum() == max(kept)
    assert len(set(zip(group.tolist(), result.tolist(), strict=True))) == len(set(group.tolist()))


def test_the_same_groups_under_other_numbers_get_their_own_back() -> None:
    earlier = np.array([2, 2, 0, 0, 1, 1, 1])
    assert np.array_equal(matched((earlier + 1) % 3, earlier, 3), earlier)


def test_too_few_people_are_one_line() -> None:
    with pytest.raises(ReidError, match="divide: 3 learners want two people each, 6 in all, and there are 5"):
        divided(np.ones((5, 2), np.float32), np.arange(5), 3, 0)
