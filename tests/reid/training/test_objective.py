import pytest
import torch

from reid.training.objective import build_objective, features_by_term


@pytest.mark.parametrize(
    ("name", "options", "after"),
    [
        ("batch_hard", {}, {"softmax"}),
        ("quadruplet", {"metric": "euclidean"}, {"softmax"}),
        ("quadruplet", {"metric": "learned"}, {"softmax", "quadruplet"}),
    ],
)
def test_classifiers_and_a_learned_metric_see_the_features_after_the_neck(
    name: str, options: dict[str, str], after: set[str]
) -> None:
    weights = {"triplet_weight": 1.0, "softmax_weight": 1.0, "center_weight": 0.1, "label_smoothing": 0.1}
    objective = build_objective(name, num_classes=3, embedding_dim=4, options=options, **weights)  # type: ignore[arg-type]
    before, behind = torch.zeros(2, 4), torch.ones(2, 4)
    seen = features_by_term(objective, before, behind)
    assert seen.keys() == {name, "softmax", "center"}
    assert {term for term, features in seen.items() if features is behind} == after
    assert {term for term, features in seen.items() if features is before} == seen.keys() - after
