from pathlib import Path
from typing import Any

import pytest
import torch

from reid.config import TermParams, load_params, with_values
from reid.errors import UsageError
from reid.training.checks import check_objective
from reid.training.objective import build_objective, features_by_term

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.mark.parametrize(
    ("name", "options", "after"),
    [
        ("batch_hard", {}, {"softmax"}),
        ("quadruplet", {"metric": "euclidean"}, {"softmax"}),
        ("quadruplet", {"metric": "learned"}, {"softmax", "quadruplet"}),
        ("cross_batch_memory", {}, {"softmax", "cross_batch_memory"}),
    ],
)
def test_classifiers_and_a_learned_metric_see_the_features_after_the_neck(
    name: str, options: dict[str, str], after: set[str]
) -> None:
    terms = {name: TermParams(options=options), "softmax": TermParams(), "center": TermParams(weight=0.1)}
    objective = build_objective(terms, num_classes=3, embedding_dim=4)
    before, behind = torch.zeros(2, 4), torch.ones(2, 4)
    seen = features_by_term(objective, before, behind)
    assert seen.keys() == {name, "softmax", "center"}
    assert {term for term, features in seen.items() if features is behind} == after
    assert {term for term, features in seen.items() if features is before} == seen.keys() - after


def test_params_yaml_may_choose_the_side_and_leave_a_term_out() -> None:
    terms = {
        "pull": TermParams(loss="batch_hard", neck="after"),
        "softmax": TermParams(neck="before"),
        "circle": TermParams(weight=0.0),
    }
    before, behind = torch.zeros(2, 4), torch.ones(2, 4)
    objective = build_objective(terms, num_classes=3, embedding_dim=4)
    seen = features_by_term(objective, before, behind)
    assert seen.keys() == {"pull", "softmax"}
    assert seen["pull"] is behind and seen["softmax"] is before
    assert objective.weights == {"pull": 1.0, "softmax": 1.0}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("terms.softmax.loss", "sofmax", r"loss 'sofmax' is unknown: take one of .*circle.*softmax"),
        ("terms.batch_hard.options.margn", 1, r"loss batch_hard has no option 'margn': it takes margin"),
        (
            "terms.batch_hard.options.margin",
            "far",
            r"loss batch_hard: the option 'margin' is 'far': take a number",
        ),
        ("terms.softmax.miner", "semi_hard", r"loss softmax takes no miner: take the loss triplet"),
        ("terms", {"keys": {"loss": "softmax"}}, r"term keys: torch has another use"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(key: str, value: Any, message: str) -> None:
    params = with_values(load_params(PARAMS), {f"objectives.batch_hard.{key}": value})
    with pytest.raises(UsageError, match="^objectives.batch_hard: " + message) as caught:
        check_objective(params, "batch_hard")
    assert "\n" not in str(caught.value)
