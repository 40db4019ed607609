"""Divide and conquer: batches of one group, slices of the embedding, and a training that is killed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reid.config import DivideParams, Params, with_values
from reid.data.catalog import read_catalog
from reid.errors import ReidError, UsageError
from reid.losses import CombinedLoss, build_loss
from reid.models.embedder import load_model
from reid.training.checks import check_catalog, check_objective
from reid.training.division import DivideAndConquer, draw
from reid.training.samplers import SAMPLERS, Source
from reid.training.trial import run_training
from tests.reid.losses import naive
from tests.reid.training.interrupted import assert_same_weights_after_a_kill

LABELS = np.repeat(np.arange(8), 4)


def objective(plan: DivideParams) -> DivideAndConquer:
    def hard() -> CombinedLoss:
        return CombinedLoss({"batch_hard": (1.0, build_loss("batch_hard"))})

    return DivideAndConquer(hard(), [hard() for _ in range(plan.learners)], len(LABELS), plan)


def embeddings(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(LABELS), 6)).astype(np.float32)


@pytest.mark.parametrize("sampler", ["pk", "shuffled", "pairs"])
def test_every_image_is_drawn_for_its_own_learner_alone(tiny_params: Params, sampler: str) -> None:
    loss = objective(DivideParams(learners=3))
    loss.begin(0, 0.0, LABELS, 0, lambda: embeddings(0))
    cameras = np.array(["1", "2"] * 16)
    source = Source(LABELS, cameras, None, tiny_params.train, 0)
    batches = draw(loss, SAMPLERS[sampler](), source)
    batches.set_epoch(4)
    listed = list(batches)
    groups = [set(loss.group[rows].tolist()) for rows in listed]
    assert all(len(group) == 1 for group in groups)
    assert [group.pop() for group in groups] == [0, 1, 2] * (len(groups) // 3), "in turn"
    if sampler == "shuffled":
        assert {row for rows in listed for row in rows} == set(range(len(LABELS)))
    assert list(batches) == listed


def test_a_learner_sees_its_slice_and_in_the_end_there_is_one() -> None:
    loss = objective(DivideParams(learners=3, share=0.5))
    loss.begin(0, 0.0, LABELS, 0, lambda: embeddings(0))
    features = torch.arange(24.0).reshape(4, 6)
    for row in range(len(LABELS)):
        number = int(loss.group[row])
        learner, before, after = loss.learner_of(row, features, -features)
        assert learner is loss.learners[number]
        assert torch.equal(before, features[:, 2 * number : 2 * number + 2])
        assert torch.equal(after, -before)
    loss.begin(3, 0.5, LABELS, 0, lambda: pytest.fail("nothing to cluster"))
    assert loss.learner_of(0, features, features)[0] is loss


def test_a_learners_value_is_that_of_its_slice_alone_and_so_is_its_gradient() -> None:
    """Against batch-hard as a loop over float64 numbers of the slice; the numbers of the others have no
    gradient.
    """
    loss, x = objective(DivideParams(learners=3)), naive.embeddings(8, 5, 6).requires_grad_()
    loss.begin(0, 0.0, LABELS, 0, lambda: embeddings(0))
    labels = torch.arange(8) // 2
    for row in range(len(LABELS)):
        number = int(loss.group[row])
        part = slice(2 * number, 2 * number + 2)

        def value(features: torch.Tensor, row: int = row) -> torch.Tensor:
            learner, own, _ = loss.learner_of(row, features, features)
            return learner(own, labels).value

        apart = naive.distances(x.detach()[:, part], squared=False)
        expected = naive.mean(
            naive.hinge(max(apart[a][p] for p in positives) - min(apart[a][n] for n in negatives) + 0.3)
            for a in range(8)
            for positives, negatives in [naive.candidates(labels.tolist(), a)]
        )
        assert float(value(x).detach()) == pytest.approx(expected, abs=1e-12)
        (gradient,) = torch.autograd.grad(value(x), x)
        others = [column for column in range(6) if column not in range(part.start, part.stop)]
        assert not gradient[:, others].any() and gradient[:, part].any()
    assert torch.autograd.gradcheck(value, (x,))


def test_groups_are_renewed_when_due_and_keep_their_numbers() -> None:
    loss = objective(DivideParams(learners=2, every=2))
    seen = []
    for epoch in range(4):
        loss.begin(epoch, 0.0, LABELS, epoch, lambda epoch=epoch: embeddings(epoch))
        seen.append(loss.group.clone())
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3])
    same = int((seen[2] == seen[0]).sum())
    assert not torch.equal(seen[2], seen[0]) and same >= len(LABELS) / 2


def changed(params: Params, **values: Any) -> Params:
    values = {f"objectives.batch_hard.{key}": value for key, value in values.items()}
    return with_values(params, values)


def test_killed_between_two_clusterings_it_ends_with_the_same_weights(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    params = changed(tiny_params, divide={"learners": 2, "every": 2, "share": 0.7})
    whole, _ = assert_same_weights_after_a_kill(params, "batch_hard", tiny_catalog, tmp_path)
    undivided = tmp_path / "undivided"
    undivided.mkdir()
    run_training(tiny_params, "batch_hard", tiny_catalog, undivided)
    assert (whole / "model.safetensors").read_bytes() != (undivided / "model.safetensors").read_bytes()


def test_a_boosted_ensemble_is_saved_as_one_embedding(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    params = changed(tiny_params, terms={"bier": {"options": {"learners": 3}}})
    run_training(params, "batch_hard", tiny_catalog, tmp_path)
    model, spec = load_model(tmp_path / "model.safetensors")
    assert spec.slices is not None and len(spec.slices) == 3 and sum(spec.slices) == model.dim
    embedded = model.embed(torch.randn(2, 3, 32, 16))
    first = embedded[:, : spec.slices[0]].norm(dim=1)
    torch.testing.assert_close(first, torch.full((2,), (spec.slices[0] / model.dim) ** 0.5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"divide": {"learners": 3}, "embedding_dim": 64},
            "embedding of 64 numbers has no 3 equal slices",
        ),
        ({"divide": {"learners": 2}, "sampler": "mined"}, "the sampler mined draws from everybody: take one"),
        ({"divide": {"learners": 2}, "terms": {"hierarchical": {}}}, "term hierarchical has a class tree or"),
        ({"divide": {"learners": 0}}, "learners is 0: take a whole number, at least 1"),
    ],
)
def test_what_cannot_be_divided_is_one_line(tiny_params: Params, values: Any, message: str) -> None:
    dim = values.pop("embedding_dim", None) if isinstance(values, dict) else None
    with pytest.raises(UsageError, match=message) as caught:
        params = changed(with_values(tiny_params, {"model.embedding_dim": dim}), **values)
        check_objective(params, "batch_hard")
    assert "\n" not in str(caught.value)


def test_more_learners_than_half_the_people_are_one_line(tiny_params: Params, tiny_catalog: Path) -> None:
    params = changed(tiny_params, divide={"learners": 4})
    with pytest.raises(ReidError, match="batch_hard: divide: 4 learners want two people each, and 6 are"):
        check_catalog(params, "batch_hard", read_catalog(tiny_catalog))
