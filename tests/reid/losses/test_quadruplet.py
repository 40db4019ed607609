import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import UsageError
from reid.losses import build_loss
from tests.reid.losses import naive

AVERAGES = {"all": naive.mean, "margin": naive.active_mean}
LABELS = [5, 5, 5, 2, 2, 8, 8, 1]


def metric_of(loss: torch.nn.Module, x: torch.Tensor) -> naive.Matrix:
    """g squared of every pair, pair by pair."""
    return [[float(loss.pair_metric.paired(p, q).detach()) ** 2 for q in x] for p in x]


@given(naive.any_labels, naive.seeds, st.sampled_from(["all", "margin"]), st.booleans())
@settings(deadline=None)
def test_fixed_margins_equal_the_loops(y, seed, selection, normalise):
    x = naive.embeddings(len(y), seed)
    g_sq = naive.distances(naive.unit(x) if normalise else x, squared=True)
    output = build_loss(
        "quadruplet",
        metric="euclidean",
        adaptive=False,
        margins=(1.2, 0.4),
        selection=selection,
        normalise=normalise,
    )(x, torch.tensor(y))
    first, second = naive.quadruplet(g_sq, y, 1.2, 0.4, AVERAGES[selection])
    assert float(output.extras["triplet"]) == pytest.approx(first, abs=1e-9)
    assert float(output.extras["quadruplet"]) == pytest.approx(second, abs=1e-9)
    assert float(output.value) == pytest.approx(first + second, abs=1e-9)
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx(
        naive.pair_means(g_sq, y), abs=1e-6
    )
    positive = [g_sq[i][j] - g_sq[i][k] > -1.2 for i, j, k in naive.triplets(y)]
    # Quadruplets are counted once for every unordered pair, triplets for every anchor.
    foreign = [g_sq[i][j] - g_sq[m][k] > -0.4 for i, j, m, k in naive.quadruplets(y) if i < j and m < k]
    assert float(output.active_fraction) == pytest.approx(naive.mean(positive + foreign))


@given(naive.any_labels, naive.seeds, st.sampled_from(["all", "margin", "hardest"]), st.booleans())
@settings(deadline=None)
def test_adaptive_margins_equal_the_loops(y, seed, selection, learned):
    x = naive.embeddings(len(y), seed)
    options = (
        {"metric": "learned", "embedding_dim": 3, "pair_weight": 0.0} if learned else {"metric": "euclidean"}
    )
    loss = build_loss("quadruplet", selection=selection, **options)
    if learned:
        torch.nn.init.normal_(loss.pair_metric.product, generator=torch.Generator().manual_seed(seed))
        loss.double()
    g_sq = metric_of(loss, x) if learned else naive.distances(x, squared=True)
    mean_positive, mean_negative = naive.pair_means(g_sq, y)
    gap = naive.hinge(mean_negative - mean_positive)
    reference = naive.hardest_quadruplet(g_sq, y, gap, gap / 2) if selection == "hardest" else None
    first, second = reference or naive.quadruplet(g_sq, y, gap, gap / 2, AVERAGES[selection])
    output = loss(x, torch.tensor(y))
    assert float(output.extras["margin_1"]) == pytest.approx(gap, abs=1e-9)
    assert float(output.extras["margin_2"]) == pytest.approx(gap / 2, abs=1e-9)
    assert float(output.value.detach()) == pytest.approx(first + second, abs=1e-9)
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx(
        (mean_positive, mean_negative), abs=1e-6
    )


@pytest.mark.parametrize("selection", ["all", "margin", "hardest"])
@pytest.mark.parametrize("metric", ["learned", "euclidean"])
@pytest.mark.parametrize("detach", [True, False])
def test_gradients(selection, metric, detach):
    x, labels = naive.embeddings(8, 3).requires_grad_(), torch.tensor(LABELS)
    loss = build_loss(
        "quadruplet",
        metric=metric,
        embedding_dim=3,
        selection=selection,
        detach_margin=detach,
        adaptive=not detach,
    ).double()
    inputs = (x, *loss.parameters())
    assert torch.autograd.gradcheck(lambda e, *_: loss(e, labels).value, inputs)


def test_a_detached_margin_equals_the_same_margin_fixed():
    x, labels = naive.embeddings(8, 3).requires_grad_(), torch.tensor(LABELS)
    adaptive = build_loss("quadruplet", metric="euclidean", detach_margin=True)(x, labels)
    margins = float(adaptive.extras["margin_1"]), float(adaptive.extras["margin_2"])
    fixed = build_loss("quadruplet", metric="euclidean", adaptive=False, margins=margins)(x, labels)
    gradients = [torch.autograd.grad(output.value, x)[0] for output in (adaptive, fixed)]
    torch.testing.assert_close(*gradients)


def test_the_gradient_through_the_margin_nearly_cancels_the_first_term():
    # All people but a last one lie equally far apart, so that all their triplets stay below the mean gap,
    # which the last one widens.
    people = 24
    corners = torch.eye(people, dtype=torch.float64)
    corners[-1] *= 1.2
    x = (corners.repeat_interleave(2, 0) + 0.002 * naive.embeddings(2 * people, 0, people)).requires_grad_()
    labels = torch.arange(people).repeat_interleave(2)
    norms = {}
    for detach in (True, False):
        loss = build_loss(
            "quadruplet", metric="euclidean", selection="all", detach_margin=detach, quadruplet_weight=0.0
        )
        output = loss(x, labels)
        norms[detach] = float(torch.autograd.grad(output.value, x)[0].norm())
    d, margin = naive.distances(x.detach(), True), float(output.extras["margin_1"])
    assert naive.mean(d[a][p] - d[a][n] + margin > 0 for a, p, n in naive.triplets(labels.tolist())) > 0.85
    assert norms[False] < norms[True] / 3


def test_the_warm_up_counts_training_steps_and_is_saved():
    x, labels = naive.embeddings(8, 3), torch.tensor(LABELS)
    loss = build_loss("quadruplet", metric="euclidean", warmup_steps=2, margins=(0.7, 0.3))
    seen = [float(loss(x, labels).extras["margin_1"]) for _ in range(4)]
    assert seen[:2] == pytest.approx([0.7, 0.7])
    assert seen[2] == seen[3] != pytest.approx(0.7)
    again = build_loss("quadruplet", metric="euclidean", warmup_steps=2, margins=(0.7, 0.3))
    again.load_state_dict(loss.state_dict())
    assert float(again(x, labels).extras["margin_1"]) == seen[3]
    evaluated = build_loss("quadruplet", metric="euclidean", warmup_steps=1).eval()
    for _ in range(3):
        assert float(evaluated(x, labels).extras["margin_1"]) == 1.0


@given(naive.any_labels, naive.seeds)
@settings(deadline=None)
def test_without_the_second_term_it_is_the_squared_triplet_loss(y, seed):
    x, labels = naive.embeddings(len(y), seed), torch.tensor(y)
    quadruplet = build_loss(
        "quadruplet", metric="euclidean", adaptive=False, margins=(0.6, 0.5), quadruplet_weight=0.0
    )
    triplet = build_loss("batch_all", margin=0.6, squared=True)
    assert float(quadruplet(x, labels).value) == pytest.approx(float(triplet(x, labels).value), abs=1e-9)


@given(st.lists(st.sampled_from([3, 4]), min_size=1, max_size=8), naive.seeds)
@settings(deadline=None)
def test_two_identities_have_no_quadruplet(y, seed):
    for selection in ("all", "margin", "hardest"):
        loss = build_loss("quadruplet", metric="euclidean", adaptive=False, selection=selection)
        assert float(loss(naive.embeddings(len(y), seed), torch.tensor(y)).extras["quadruplet"]) == 0


def test_on_a_line_by_hand():
    # A at 0 and 1, B at 3, C at 5: g squared of the positive pair is 1. Triplets of A: 1-9, 1-25, 1-4, 1-16;
    # the foreign pair B C: 1-4.
    x, labels = torch.tensor([[0.0], [1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1, 2])
    for selection in ("margin", "all"):
        output = build_loss(
            "quadruplet", metric="euclidean", adaptive=False, margins=(10.0, 5.0), selection=selection
        )(x, labels)
        assert float(output.extras["triplet"]) == pytest.approx((2 + 7) / (2 if selection == "margin" else 4))
        assert float(output.extras["quadruplet"]) == pytest.approx(2)
        assert float(output.active_fraction) == pytest.approx(3 / 5)
        assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx(
            (1, (9 + 25 + 4 + 16 + 4) / 5)
        )
    hardest = build_loss(
        "quadruplet", metric="euclidean", adaptive=False, margins=(10.0, 5.0), selection="hardest"
    )(x, labels)
    assert float(hardest.extras["triplet"]) == pytest.approx((2 + 7) / 2)
    adaptive = build_loss("quadruplet", metric="euclidean")(x, labels)
    assert float(adaptive.extras["margin_1"]) == pytest.approx(58 / 5 - 1)


def test_a_large_batch_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(40, (240,), generator=generator)
    x = 5 + torch.randn(40, 32, generator=generator)[labels] + torch.randn(240, 32, generator=generator)
    loss = build_loss("quadruplet", metric="euclidean")
    single, double = loss(x, labels), loss(x.double(), labels)
    assert float(single.value) == pytest.approx(float(double.value), rel=1e-5)
    assert float(single.active_fraction) == pytest.approx(float(double.active_fraction), abs=1e-5)


def test_the_metric_is_trained_by_classifying_pairs():
    x, labels = naive.embeddings(8, 3), torch.tensor(LABELS)
    loss = build_loss("quadruplet", embedding_dim=3, pair_weight=2.0)
    without = build_loss("quadruplet", embedding_dim=3, pair_weight=0.0)
    difference = loss(x, labels).value - without(x, labels).value
    assert float(difference.detach()) == pytest.approx(
        2 * float(loss(x, labels).extras["pair_loss"]), abs=1e-6
    )
    assert "pair_loss" not in build_loss("quadruplet", metric="euclidean")(x, labels).extras


def test_wrong_options_are_named():
    with pytest.raises(UsageError, match="embedding_dim"):
        build_loss("quadruplet")
    with pytest.raises(UsageError, match="'cosine'"):
        build_loss("quadruplet", metric="cosine")
    with pytest.raises(UsageError, match="'easy'"):
        build_loss("quadruplet", metric="euclidean", selection="easy")
