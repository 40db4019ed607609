import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner

from reid.errors import UsageError
from reid.losses import build_loss
from tests.reid.losses import naive

# Points on a line, so that the distances are read off: 0 and 3 are one person, 1 and 7 the other.
LINE, LINE_LABELS = torch.tensor([[0.0], [3.0], [1.0], [7.0]]), torch.tensor([4, 4, 9, 9])


def prepared(x: torch.Tensor, squared: bool, normalise: bool) -> naive.Matrix:
    return naive.distances(naive.unit(x) if normalise else x, squared)


@given(naive.any_labels, naive.seeds, st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None)
def test_batch_hard_equals_the_loops(y, seed, squared, normalise, soft):
    x = naive.embeddings(len(y), seed)
    d = prepared(x, squared, normalise)
    output = build_loss("batch_hard", margin=0.4, soft_margin=soft, squared=squared, normalise=normalise)(
        x, torch.tensor(y)
    )
    gaps = naive.batch_hard(d, y)
    costs = [naive.softplus(gap) if soft else naive.hinge(gap + 0.4) for gap in gaps]
    assert float(output.value) == pytest.approx(naive.mean(costs), abs=1e-9)
    assert float(output.active_fraction) == pytest.approx(
        naive.mean(gap > (0 if soft else -0.4) for gap in gaps)
    )
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx(
        naive.pair_means(d, y), abs=1e-6
    )


@given(
    naive.any_labels, naive.seeds, st.booleans(), st.booleans(), st.sampled_from(["active", "all", "soft"])
)
@settings(deadline=None)
def test_batch_all_equals_the_loops(y, seed, squared, normalise, how):
    x = naive.embeddings(len(y), seed)
    d = prepared(x, squared, normalise)
    options = {"soft_margin": True} if how == "soft" else {"average": how}
    output = build_loss("batch_all", margin=0.4, squared=squared, normalise=normalise, **options)(
        x, torch.tensor(y)
    )
    gaps = [d[a][p] - d[a][n] for a, p, n in naive.triplets(y)]
    costs = [naive.softplus(gap) if how == "soft" else naive.hinge(gap + 0.4) for gap in gaps]
    expected = naive.active_mean(costs) if how == "active" else naive.mean(costs)
    assert float(output.value) == pytest.approx(expected, abs=1e-9)
    assert float(output.active_fraction) == pytest.approx(
        naive.mean(gap > (0 if how == "soft" else -0.4) for gap in gaps)
    )
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx(
        naive.pair_means(d, y), abs=1e-6
    )


@given(naive.any_labels, naive.seeds, st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None)
def test_semi_hard_equals_the_loops(y, seed, squared, normalise, soft):
    x = naive.embeddings(len(y), seed)
    gaps = naive.semi_hard(prepared(x, squared, normalise), y)
    output = build_loss(
        "batch_semi_hard", margin=0.4, soft_margin=soft, squared=squared, normalise=normalise
    )(x, torch.tensor(y))
    costs = [naive.softplus(gap) if soft else naive.hinge(gap + 0.4) for gap in gaps]
    assert float(output.value) == pytest.approx(naive.mean(costs), abs=1e-9)


def test_on_a_line_by_hand():
    # Farthest positives 3, 3, 6, 6; nearest negatives 1, 2, 1, 4: gaps 2, 1, 5, 2.
    assert float(build_loss("batch_hard", margin=0.5)(LINE, LINE_LABELS).value) == 3.0
    # Gaps of all triplets: 2, -4; 1, -1; 5, 4; -1, 2. With a margin of 1.5 six stay, of cost 3.5, 2.5, 0.5,
    # 6.5, 5.5, 0.5, 3.5.
    output = build_loss("batch_all", margin=1.5)(LINE, LINE_LABELS)
    assert float(output.value) == pytest.approx((3.5 + 2.5 + 0.5 + 6.5 + 5.5 + 0.5 + 3.5) / 7)
    assert float(output.active_fraction) == pytest.approx(7 / 8)
    # Beyond the positive lie: 7 for 0 (gap -4), 4 for 3 (gap -1), 7 for 7 (gap -1), nothing for 1.
    output = build_loss("batch_semi_hard", margin=1.5)(LINE, LINE_LABELS)
    assert float(output.value) == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert (float(output.mean_positive), float(output.mean_negative)) == pytest.approx((4.5, 3.5))
    # Nearest positives 3, 3, 6, 6, the same as there is one; so easy positive equals batch hard here.
    assert float(build_loss("easy_positive", margin=0.5)(LINE, LINE_LABELS).value) == 3.0


@pytest.mark.parametrize("name", ["batch_hard", "batch_all", "batch_semi_hard", "easy_positive"])
@pytest.mark.parametrize(
    "options", [{}, {"soft_margin": True}, {"squared": True}, {"normalise": True, "margin": 0.1}]
)
def test_gradients(name, options):
    x, labels = naive.embeddings(8, 3).requires_grad_(), torch.tensor([5, 5, 5, 2, 2, 8, 8, 1])
    assert torch.autograd.gradcheck(lambda e: build_loss(name, **options)(e, labels).value, (x,))


def test_the_distance_weighted_draw_has_a_gradient():
    x, labels = naive.embeddings(8, 3).requires_grad_(), torch.tensor([5, 5, 5, 2, 2, 8, 8, 1])
    loss = build_loss("distance_weighted", margin=2.0)

    def value(e):
        torch.manual_seed(0)
        return loss(e, labels).value

    assert torch.autograd.gradcheck(value, (x,))


@pytest.mark.parametrize("power,normalise", [(1, False), (2, False), (1, True)])
@pytest.mark.parametrize("soft", [False, True])
def test_agrees_with_pytorch_metric_learning(power, normalise, soft):
    x, labels = naive.embeddings(24, 4, dim=8).float().requires_grad_(), torch.arange(24) % 6
    distance = LpDistance(normalize_embeddings=normalise, power=power)
    options = {"soft_margin": soft, "squared": power == 2, "normalise": normalise}
    # The library adds its margin inside the softplus; the paper has none there.
    theirs = TripletMarginLoss(margin=0.0 if soft else 0.3, distance=distance, smooth_loss=soft)
    # The library averages over the anchors that cost something, the paper over all of them.
    gaps = naive.batch_hard(prepared(x.detach().double(), power == 2, normalise), labels.tolist())
    share = 1.0 if soft else naive.mean(gap > -0.3 for gap in gaps)
    for name, expected in (
        ("batch_all", theirs(x, labels)),
        ("batch_hard", theirs(x, labels, BatchHardMiner(distance=distance)(x, labels)) * share),
    ):
        ours = build_loss(name, margin=0.3, **options)(x, labels).value
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
        ours_gradient, gradient = (
            torch.autograd.grad(value, x, retain_graph=True)[0] for value in (ours, expected)
        )
        torch.testing.assert_close(ours_gradient, gradient, atol=1e-5, rtol=1e-4)


def test_batch_all_of_a_large_batch_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(40, (200,), generator=generator)
    x = 30 + torch.randn(200, 32, generator=generator)
    for options in ({"squared": True, "margin": 3.0}, {"margin": 0.3}, {"soft_margin": True}):
        loss = build_loss("batch_all", **options)
        single, double = loss(x, labels), loss(x.double(), labels)
        assert float(single.value) == pytest.approx(float(double.value), rel=1e-5)
        assert float(single.active_fraction) == pytest.approx(float(double.active_fraction), abs=1e-5)


@given(naive.any_labels, naive.seeds, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=20)
def test_the_triplet_loss_costs_what_its_miner_chose(y, seed, squared, soft):
    """Against the formula over the triplets of a miner whose choice is not by chance."""
    x = naive.embeddings(len(y), seed)
    d = prepared(x, squared, False)
    loss = build_loss("triplet", miner="all", margin=0.4, soft_margin=soft, squared=squared)
    gaps = [d[a][p] - d[a][n] for a, p, n in naive.triplets(y)]
    costs = [naive.softplus(gap) if soft else naive.hinge(gap + 0.4) for gap in gaps]
    assert float(loss(x, torch.tensor(y)).value) == pytest.approx(naive.mean(costs), abs=1e-9)


@pytest.mark.parametrize("miner", ["random_semi_hard", "random", "distance_weighted", "drawn"])
@pytest.mark.parametrize("squared", [False, True])
def test_the_gradient_of_mined_triplets_is_right(miner, squared):
    x, labels = naive.embeddings(9, 3, 4).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2, 1, 2, 0])
    loss = build_loss("triplet", miner=miner, margin=1.0, squared=squared, normalise=True)

    def value(rows):
        torch.manual_seed(0)
        return loss(rows, labels).value

    assert float(value(x).detach()) > 0
    assert torch.autograd.gradcheck(value, (x,))


def test_a_miner_of_the_sphere_wants_normalised_embeddings():
    with pytest.raises(UsageError, match="distance_weighted works on the unit sphere: set normalise: true"):
        build_loss("triplet", miner="distance_weighted")
