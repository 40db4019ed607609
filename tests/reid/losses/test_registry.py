import numpy as np
import pytest
import torch

from reid.errors import UsageError
from reid.losses import LOSSES, CombinedLoss, build_loss, loss_options
from reid.metric.class_tree import ClassTree
from tests.reid.losses import naive

CONTRACT = [
    "batch_hard",
    "batch_all",
    "batch_semi_hard",
    "quadruplet",
    "hierarchical",
    "contrastive",
    "center",
    "softmax",
    "arcface",
    "cosface",
    "sphereface",
    "proxy_nca",
    "proxy_anchor",
    "multi_similarity",
    "circle",
    "log_ratio",
]


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contract_is_a_loss_with_its_figures(name):
    """``build_loss(name)``, with no option that a caller outside does not know of."""
    tree = ClassTree.from_embeddings(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 4)
    known = {"num_classes": 4, "embedding_dim": 3, "tree": tree}
    needed = {
        option: value
        for option, value in known.items()
        if option in loss_options(name) and (option != "tree" or name == "hierarchical")
    }
    output = build_loss(name, **needed)(naive.embeddings(8, 0).float(), torch.arange(8) // 2)
    assert output.value.ndim == 0 and float(output.value.detach()) > 0
    figures = (output.active_fraction, output.mean_positive, output.mean_negative)
    assert all(figure.ndim == 0 and not figure.requires_grad for figure in figures)
    assert 0 < float(output.active_fraction) <= 1


def test_every_loss_is_of_the_contract_or_named_here():
    own = {"easy_positive", "distance_weighted", "triplet", "bier", "nt_xent", "moco", "simsiam"}
    own |= {"cross_batch_memory"}
    assert set(LOSSES) == own | set(CONTRACT)


def test_unknown_names_and_options_are_named_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'tripelt'.*batch_hard.*softmax"):
        build_loss("tripelt")
    with pytest.raises(UsageError, match=r"'tripelt'"):
        loss_options("tripelt")
    with pytest.raises(
        UsageError, match=r"batch_hard has no option 'margn'.*margin, soft_margin, squared, normalise"
    ):
        build_loss("batch_hard", margn=1)
    with pytest.raises(UsageError, match=r"softmax needs the option 'num_classes'"):
        build_loss("softmax", embedding_dim=3)
    with pytest.raises(UsageError, match=r"arcface needs the option 'embedding_dim'"):
        build_loss("arcface", num_classes=3)


def test_options_reach_the_objective():
    assert build_loss("batch_hard", margin=0.7).margin == 0.7
    assert loss_options("arcface")[:2] == ("num_classes", "embedding_dim")


def strong_baseline() -> CombinedLoss:
    torch.manual_seed(0)
    return CombinedLoss(
        {
            "triplet": (1.0, build_loss("batch_hard")),
            "softmax": (0.5, build_loss("softmax", num_classes=4, embedding_dim=3)),
            "center": (
                0.0005,
                build_loss("center", num_classes=4, embedding_dim=3, center_weight=1.0, classify=False),
            ),
        }
    )


def test_combined_is_the_weighted_sum_with_every_term_by_name():
    loss, x, labels = strong_baseline(), naive.embeddings(8, 0).float(), torch.arange(8) // 2
    output = loss(x, labels)
    assert list(output.terms) == ["triplet", "softmax", "center"]
    values = {name: float(term.value.detach()) for name, term in output.terms.items()}
    assert float(output.value.detach()) == pytest.approx(
        values["triplet"] + 0.5 * values["softmax"] + 0.0005 * values["center"], rel=1e-6
    )
    assert values["triplet"] == float(build_loss("batch_hard")(x, labels).value)
    assert len(list(loss.parameters())) == 1


def test_terms_may_see_different_features():
    loss, x, labels = strong_baseline(), naive.embeddings(8, 0).float(), torch.arange(8) // 2
    before, after = x, 2 * x
    output = loss({"triplet": before, "softmax": after, "center": before}, labels)
    assert torch.equal(output.terms["softmax"].value, loss(after, labels).terms["softmax"].value)
    assert float(output.terms["triplet"].value) == float(loss(before, labels).terms["triplet"].value)
    with pytest.raises(UsageError, match="center"):
        loss({"triplet": before, "softmax": after}, labels)


def test_a_combination_needs_a_term():
    with pytest.raises(UsageError, match="no term"):
        CombinedLoss({})
