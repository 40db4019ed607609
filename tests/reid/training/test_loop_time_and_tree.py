"""What the loop measures time by, and which side of the neck a class tree is made of."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from reid.config import Params, settings_of, with_values
from reid.metric.class_tree import ClassTree
from reid.models.embedder import build_model
from reid.models.inference import extract_features
from reid.training.loop import Epoch, train
from reid.training.trial import load_training_data, loss_and_batches, model_spec


def test_a_training_ends_by_the_clock_it_is_given(tiny_params: Params, tiny_catalog: Path) -> None:
    params = with_values(tiny_params, {"train.max_seconds": 5.5, "train.epoch_steps": 2})
    model, data = build_model(model_spec(params)), load_training_data(tiny_catalog, 32, 16)
    objective, plan = loss_and_batches(params, "batch_hard", 6, model.dim)
    ticks, epochs = count(), list[Epoch]()
    train(
        model,
        objective,
        data,
        settings_of(params, "batch_hard"),
        seed=0,
        plan=plan,
        on_epoch=epochs.append,
        clock=lambda: float(next(ticks)),
    )
    # A tick at the start of an epoch, one before its batches, one for each batch, one at its end.
    assert [epoch.step for epoch in epochs] == [2, 3]
    assert epochs[0].figures["images_per_second"] == pytest.approx(2 * 6 / 4)


@pytest.mark.parametrize("side", ["before", "after"])
def test_the_class_tree_is_of_the_side_of_the_neck_that_its_loss_takes(
    side: str, tiny_params: Params, tiny_catalog: Path
) -> None:
    changes = {"objectives.hierarchical.terms.hierarchical.neck": side, "train.precision": "float32"}
    params = with_values(tiny_params, changes)
    model, data = build_model(model_spec(params)), load_training_data(tiny_catalog, 32, 16)
    objective, plan = loss_and_batches(params, "hierarchical", 6, model.dim)
    settings = settings_of(params, "hierarchical")
    result, tree = train(model, objective, data, settings, seed=0, plan=plan)
    assert tree is not None
    sides = {
        name: ClassTree.from_embeddings(
            extract_features(result, data.images, necked=name == "after"), data.labels
        )
        for name in ("before", "after")
    }
    assert np.allclose(tree.means, sides[side].means, atol=1e-6)
    assert not np.allclose(sides["before"].means, sides["after"].means, atol=1e-2)
