import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.job.sightings.interpolation import Boxes, interpolate
from serving.job.sightings.linking import Ends, at_edge, chain, join_border, link_scores, neutral_distance
from serving.overlap import box_iou


def ends_of(count: int, seed: int) -> Ends:
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, 20, count)
    corner = rng.uniform(0, 300, (count, 2))
    head = np.concatenate([corner, corner + np.array([30, 80]), rng.normal(0, 20, (count, 4))], axis=1)
    moved = corner + rng.normal(0, 30, (count, 2))
    tail = np.concatenate([moved, moved + np.array([30, 80]), rng.normal(0, 20, (count, 4))], axis=1)
    vectors = rng.standard_normal((count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    enters, leaves = rng.random((2, count)) < 0.3
    return Ends(first, first + rng.uniform(0.1, 5, count), head, tail, vectors, enters, leaves)


def naive_score(ends: Ends, i: int, j: int, max_gap_s: float, same: float) -> float | None:
    gap = ends.first_s[j] - ends.last_s[i]
    if not 0 < gap <= max_gap_s:
        return None

    def feet(box: np.ndarray) -> np.ndarray:
        return np.array([(box[0] + box[2]) / 2, box[3]])

    def speed(box: np.ndarray) -> np.ndarray:
        return np.array([(box[4] + box[6]) / 2, box[7]])

    height = np.sqrt((ends.tail[i][3] - ends.tail[i][1]) * (ends.head[j][3] - ends.head[j][1]))
    walked = 1.5 * (1 - np.exp(-gap / 1.5))
    forward = np.linalg.norm(feet(ends.head[j]) - (feet(ends.tail[i]) + walked * speed(ends.tail[i])))
    backward = np.linalg.norm(feet(ends.tail[i]) - (feet(ends.head[j]) - walked * speed(ends.head[j])))
    miss, sigma = (forward + backward) / 2 / height, 0.25 + 0.3 * gap
    same_person = np.exp(-(miss**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    distance = np.linalg.norm(ends.embeddings[i] - ends.embeddings[j])
    somebody_else = (4 if ends.enters[j] else 1) / 60
    comes_back = 0.1 if ends.leaves[i] else 1.0
    return float(
        np.log(same_person * comes_back / somebody_else) + np.clip((same - distance) / (0.1 * same), -5, 5)
    )


@given(st.integers(0, 12), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_scores_are_the_formula_pair_by_pair(count: int, seed: int) -> None:
    ends = ends_of(count, seed)
    i, j, score = link_scores(ends, 4.0, 0.7)
    found = {(int(a), int(b)): s for a, b, s in zip(i, j, score, strict=True)}
    wanted = {
        (a, b): s
        for a in range(count)
        for b in range(count)
        if (s := naive_score(ends, a, b, 4.0, 0.7)) is not None and s > 0
    }
    assert found.keys() == wanted.keys()
    for pair, value in wanted.items():
        assert found[pair] == pytest.approx(value)


@given(st.lists(st.integers(0, 12), max_size=3), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_the_neutral_distance_is_learned_from_people_whom_a_camera_sees_together(
    counts: list[int], seed: int
) -> None:
    cameras = [ends_of(count, seed + number) for number, count in enumerate(counts)]
    together = [
        float(np.linalg.norm(ends.embeddings[a] - ends.embeddings[b]))
        for ends in cameras
        for a in range(len(ends.first_s))
        for b in range(a)
        if ends.first_s[a] <= ends.last_s[b] and ends.first_s[b] <= ends.last_s[a]
    ]
    wanted = min(0.9, 0.8 * float(np.quantile(together, 0.05))) if len(together) >= 20 else 0.9
    assert neutral_distance(cameras, 0.9) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "ask",
    [lambda ends: neutral_distance([ends], 2.0), lambda ends: link_scores(ends, 8.0, 1.0)],
    ids=["apart", "link"],
)
def test_memory_grows_with_the_pairs_and_not_with_their_embeddings(ask: Callable[[Ends], Any]) -> None:
    def peak(width: int) -> int:
        ends = replace(ends_of(600, 0), embeddings=np.random.default_rng(0).standard_normal((600, width)))
        tracemalloc.start()
        ask(ends)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    # 600 tracklets of 20 seconds make more than 50,000 pairs: 200 MB, were all of their embeddings there at
    # once.
    assert peak(512) - peak(2) < 30e6


def test_the_edge_of_a_picture_grows_with_who_stands_there() -> None:
    boxes = np.array(
        [[5, 60, 25, 120], [7, 60, 27, 120], [300, 60, 320, 120], [150, 20, 180, 199], [150, 90, 180, 120]],
        np.float64,
    )
    assert at_edge(boxes, 320, 200).tolist() == [True, False, True, True, False]


def test_who_left_at_one_side_is_not_who_comes_in_at_the_other() -> None:
    """Somebody of about the same looks comes in where one has just gone out: linked in the middle of the
    picture, not at its edge.
    """
    box = np.array([[10, 60, 30, 120, 0, 0, 0, 0]], np.float64).repeat(2, axis=0)
    vectors = np.array([[1, 0], [np.cos(0.7), np.sin(0.7)]])
    times = np.array([0.0, 6.0]), np.array([5.0, 8.0])  # a second between them
    for edge, links in ((False, 1), (True, 0)):
        there = np.full(2, edge)
        i, _, _ = link_scores(Ends(*times, box, box, vectors, there, there), 4.0, 0.7)
        assert len(i) == links


def total(labels: np.ndarray, order: list[int], score: dict[tuple[int, int], float]) -> float:
    """The score of the links that labels imply: neighbours in time inside a group."""
    value = 0.0
    for label in set(labels.tolist()):
        group = [one for one in order if labels[one] == label]
        value += sum(score.get(pair, -np.inf) for pair in pairwise(group))
    return value


@given(st.integers(1, 4), st.data())
@settings(max_examples=80, deadline=None)
def test_chains_are_the_best_of_all(count: int, data: st.DataObject) -> None:
    # Tracklet i can be continued by any later j: exhaustive search over who follows whom.
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count) if data.draw(st.booleans())]
    score = {pair: data.draw(st.floats(0.1, 5)) for pair in pairs}
    best = 0.0
    for follower in permutations([*range(count), *[None] * count], count):
        if all(j is None or (i, j) in score for i, j in enumerate(follower)):
            best = max(best, sum(score[i, j] for i, j in enumerate(follower) if j is not None))
    i, j = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    labels = chain(count, i, j, np.array([score[pair] for pair in pairs]))
    assert total(labels, list(range(count)), score) == pytest.approx(best)
    assert all(labels[label] == label for label in labels)


def test_nothing_to_link() -> None:
    empty = np.zeros(0, np.int64)
    assert chain(3, empty, empty, np.zeros(0)).tolist() == [0, 1, 2]
    assert chain(0, empty, empty, np.zeros(0)).tolist() == []


def test_a_border_joins_tracklets_with_the_same_boxes() -> None:
    boxes = np.array([[0, 0, 10, 30], [100, 0, 110, 30]], np.float64)
    frames = np.repeat(np.arange(5), 2)
    before = (np.tile([7, 8], 5), frames, np.tile(boxes, (5, 1)))
    after = (np.tile([2, 1], 5), frames, np.tile(boxes + 1, (5, 1)))
    assert sorted(join_border(before, after)) == [(7, 2), (8, 1)]
    elsewhere = (after[0], frames, after[2] + 50)
    assert join_border(before, elsewhere) == []


def test_a_border_joins_one_to_one() -> None:
    box = np.array([[0, 0, 10, 30]], np.float64)
    before = (np.array([1, 1, 1]), np.arange(3), np.repeat(box, 3, axis=0))
    after = (np.array([5, 6, 6]), np.arange(3), np.repeat(box, 3, axis=0))
    assert join_border(before, after) == [(1, 6)]


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10]], np.float64)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float64)
    np.testing.assert_allclose(box_iou(a, b), [[1, 1 / 3, 0]])


def boxes(rows: list[tuple[int, int, float]]) -> Boxes:
    table = np.array(rows, np.float64).reshape(-1, 3)
    xywh = np.column_stack([table[:, 2], np.zeros(len(table)), np.full((len(table), 2), 5.0)]).astype(
        np.float32
    )
    return Boxes(
        table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), xywh, np.ones(len(table), np.float32)
    )


def test_short_gaps_are_filled_on_a_line_and_long_ones_are_not() -> None:
    last: dict = {}
    first = interpolate(
        boxes([(1, 1, 0.0), (4, 1, 30.0), (1, 2, 5.0), (20, 2, 9.0)]), last, step=1, max_gap=10
    )
    assert list(
        zip(
            first.frame.tolist(),
            first.sighting.tolist(),
            first.xywh[:, 0].tolist(),
            first.confidence.tolist(),
            strict=True,
        )
    ) == [
        (1, 1, 0.0, 1.0),
        (1, 2, 5.0, 1.0),
        (2, 1, 10.0, 0.0),
        (3, 1, 20.0, 0.0),
        (4, 1, 30.0, 1.0),
        (20, 2, 9.0, 1.0),
    ]
    # The next batch goes on where this one ended.
    second = interpolate(boxes([(6, 1, 50.0), (40, 2, 1.0)]), last, step=1, max_gap=10)
    assert list(zip(second.frame.tolist(), second.xywh[:, 0].tolist(), strict=True)) == [
        (5, 40.0),
        (6, 50.0),
        (40, 1.0),
    ]


def test_a_step_of_several_frames_is_no_gap() -> None:
    filled = interpolate(boxes([(1, 1, 0.0), (6, 1, 5.0), (16, 1, 15.0)]), {}, step=5, max_gap=20)
    assert filled.frame.tolist() == [1, 6, 11, 16]
