import numpy as np
import pytest
import torch

from reid.class_tree import ClassTree
from reid.losses import build_loss
from tests.reid.losses import naive

LABELS = [[0, 0, 1, 1, 2, 2, 3], [2, 2, 2, 1, 1, 0, 0, 0, 0, 3]]


@pytest.fixture(params=LABELS)
def batch(request):
    y = request.param
    return torch.from_numpy(np.random.default_rng(len(y)).normal(size=(len(y), 3))).requires_grad_(), y


@pytest.mark.parametrize("selection,average", [("all", naive.mean), ("margin", naive.active_mean)])
def test_quadruplet_equals_the_loops(batch, selection, average):
    x, y = batch
    loss = build_loss("quadruplet", metric="euclidean", adaptive=False, selection=selection)
    expected = naive.quadruplet(naive.distances(x.detach().numpy(), True), y, 1.0, 0.5, average)
    assert float(loss(x, torch.tensor(y)).value) == pytest.approx(sum(expected), abs=1e-9)
    assert torch.autograd.gradcheck(lambda e: loss(e, torch.tensor(y)).value, (x,))


def test_hierarchical_equals_the_loops(batch):
    x, y = batch
    tree = ClassTree.from_embeddings(x, y)
    loss = build_loss("hierarchical", tree=tree)
    expected = naive.hierarchical(x.detach().numpy(), y, list(tree.thresholds), tree.merge_level, list(tree.intra_class), 0.1, True)
    assert float(loss(x, torch.tensor(y)).value) == pytest.approx(expected, abs=1e-5)
    assert torch.autograd.gradcheck(lambda e: loss(e, torch.tensor(y)).value, (x,))


def test_batch_hard_equals_the_loops(batch):
    x, y = batch
    loss = build_loss("batch_hard", margin=0.3)
    expected = naive.batch_hard(x.detach().numpy(), y, lambda gap: naive.hinge(gap + 0.3))
    assert float(loss(x, torch.tensor(y)).value) == pytest.approx(expected, abs=1e-9)
    assert torch.autograd.gradcheck(lambda e: loss(e, torch.tensor(y)).value, (x,))
