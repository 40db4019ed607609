"""Which pairs are verified."""

import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from reid.evaluation.pairs import draw_pairs, pair_distances

RNG = np.random.default_rng(0)
LABELS = RNG.integers(-1, 8, 30), RNG.integers(0, 3, 30), RNG.integers(-1, 8, 100), RNG.integers(0, 3, 100)


def possible():
    query_ids, query_cams, gallery_ids, gallery_cams = LABELS
    usable = (
        (query_ids[:, None] != -1) & (gallery_ids[None] != -1) & (query_cams[:, None] != gallery_cams[None])
    )
    return usable, query_ids[:, None] == gallery_ids[None]


def test_all_pairs_where_there_is_room():
    usable, alike = possible()
    pairs, same = draw_pairs(*LABELS)
    assert {tuple(p) for p in pairs[same]} == {tuple(p) for p in np.argwhere(usable & alike)}
    assert {tuple(p) for p in pairs[~same]} == {tuple(p) for p in np.argwhere(usable & ~alike)}
    assert len({tuple(p) for p in pairs}) == len(pairs)


def test_draws_are_bounded_valid_without_repeats_and_repeatable():
    usable, alike = possible()
    pairs, same = draw_pairs(*LABELS, genuine=20, impostors=150, seed=3)
    assert (same.sum(), (~same).sum()) == (20, 150)
    assert len({tuple(p) for p in pairs}) == 170
    assert usable[pairs[:, 0], pairs[:, 1]].all()
    assert (alike[pairs[:, 0], pairs[:, 1]] == same).all()
    np.testing.assert_array_equal(draw_pairs(*LABELS, genuine=20, impostors=150, seed=3)[0], pairs)
    assert not np.array_equal(draw_pairs(*LABELS, genuine=20, impostors=150, seed=4)[0], pairs)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_are_those_of_the_pairs(metric):
    query, gallery = RNG.standard_normal((30, 5)), RNG.standard_normal((100, 5))
    pairs, _ = draw_pairs(*LABELS)
    found = pair_distances(query, gallery, pairs, metric)
    for (row, column), distance in zip(pairs[::50], found[::50], strict=True):
        a, b = query[row], gallery[column]
        expected = (
            np.linalg.norm(a - b)
            if metric == "euclidean"
            else 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        )
        assert distance == pytest.approx(expected, abs=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ReidError, match="no query shares an identity"):
        draw_pairs([1], ["a"], [1, 2], ["a", "b"])
    with pytest.raises(ReidError, match="no two images of different people"):
        draw_pairs([1], ["a"], [1, 1], ["a", "b"])
    with pytest.raises(ReidError, match=r"gallery cameras have shape \(1,\)"):
        draw_pairs([1], ["a"], [1, 1], ["a"])
    with pytest.raises(UsageError, match="want at least 1 of each"):
        draw_pairs(*LABELS, impostors=0)
