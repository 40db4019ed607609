"""Class tree and mined triplets between two renewals, and a training that is killed there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid.config import Params, TreeParams, parse_params
from reid.errors import ReidError
from reid.metric.class_tree import ClassTree
from reid.training.renewal import BatchPlan, Renewal, some_of_each
from reid.training.samplers import PK, Mined
from tests.reid.training.interrupted import assert_same_weights_after_a_kill

LABELS = np.repeat(np.arange(4), 3)
OFFLINE: dict[str, Any] = {
    "start": "untrained",
    "sampler": {"name": "mined", "options": {"rule": "hard", "every": 2}},
    "tree": {"every": 2},
    "terms": {"triplet": {"miner": "drawn"}, "hierarchical": {}, "softmax": {}},
}


class Moving:
    """Embeddings that differ at every call, and how often they were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, rows: np.ndarray | None = None) -> np.ndarray:
        self.asked += 1
        number = 12 if rows is None else len(rows)
        return np.random.default_rng(self.asked).normal(size=(number, 5)).astype(np.float32)


def test_both_are_renewed_when_due_by_one_pass_over_the_images(tmp_path: Path) -> None:
    embed = Moving()
    renewal = Renewal(BatchPlan(Mined("hard", every=3), TreeParams(every=2)), LABELS, 0, tmp_path)
    asked, trees, triplets = [], [], []
    for epoch in range(6):
        renewal.begin(epoch, embed)
        asked.append(embed.asked)
        trees.append(renewal.tree)
        triplets.append(renewal.triplets)
    assert asked == [1, 1, 2, 3, 4, 4]
    assert trees[0] is trees[1] and trees[2] is trees[3] and trees[4] is trees[5]
    assert trees[0] is not trees[2]
    assert triplets[0] is triplets[1] is triplets[2] and triplets[3] is triplets[5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mined-3.npz", "tree-4.npz"]

    again = Renewal(renewal.plan, LABELS, 0, tmp_path)
    again.begin(5, embed)
    assert embed.asked == 4, "read, not made"
    assert np.array_equal(again.triplets, triplets[5])
    assert np.array_equal(again.tree.merge_levels, trees[5].merge_levels)
    again.forget()
    assert not list(tmp_path.iterdir())


def test_a_tree_of_some_images_embeds_those_alone_spread_over_each_person() -> None:
    labels = np.array([2, 2, 2, 2, 2, 0, 2, 0, 1])
    assert some_of_each(labels, 3).tolist() == [0, 2, 5, 6, 7, 8]
    asked: list[np.ndarray | None] = []
    embeddings = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)

    def embed(rows: np.ndarray | None) -> np.ndarray:
        asked.append(rows)
        return embeddings if rows is None else embeddings[rows]

    for sampler, wanted in ((PK(), [0, 2, 5, 6, 7, 8]), (Mined("hard"), None)):
        renewal = Renewal(BatchPlan(sampler, TreeParams(images=3)), labels, 0)
        renewal.begin(0, embed)
        assert renewal.tree is not None
        rows = asked.pop()
        assert (rows if rows is None else rows.tolist()) == wanted and not asked, "one pass serves both"
        chosen = slice(None) if rows is None else rows
        expected = ClassTree.from_embeddings(embeddings[chosen], labels[chosen])
        assert np.array_equal(renewal.tree.means, expected.means)


def test_what_is_renewed_every_epoch_needs_no_file(tmp_path: Path) -> None:
    renewal = Renewal(BatchPlan(Mined("hard"), TreeParams()), LABELS, 0, tmp_path)
    renewal.begin(7, Moving())
    assert renewal.tree is not None and renewal.triplets is not None
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone_or_damaged_is_named(tmp_path: Path) -> None:
    renewal = Renewal(BatchPlan(Mined("hard", every=2)), LABELS, 0, tmp_path)
    with pytest.raises(ReidError, match=r"cannot go on .* without .*mined-4\.npz: delete its checkpoint"):
        renewal.begin(5, Moving())
    (tmp_path / "mined-4.npz").write_bytes(b"PK")
    with pytest.raises(ReidError, match=r"mined-4\.npz cannot be read"):
        renewal.begin(5, Moving())


def test_nothing_is_asked_for_where_nothing_is_renewed() -> None:
    embed = Moving()
    Renewal(BatchPlan(PK()), LABELS, 0).begin(0, embed)
    assert embed.asked == 0


def test_killed_between_two_renewals_it_ends_with_the_same_weights(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    value = tiny_params.model_dump(mode="json") | {"objectives": {"offline": OFFLINE}}
    params = parse_params(value)

    def kept(broken: Path) -> None:
        assert {path.name for path in broken.glob("*-*")} == {"mined-0.npz", "tree-0.npz"}

    whole, broken = assert_same_weights_after_a_kill(params, "offline", tiny_catalog, tmp_path, kept)
    assert {path.name for path in broken.iterdir()} == {path.name for path in whole.iterdir()}
