import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from reid.errors import ReidError, UsageError
from reid.evaluation.pair_metric import PairScorer, load_pair_scorer
from reid.models.pair_metric import PairMetric


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(0)
    metric = PairMetric(5)
    for parameter in metric.parameters():
        torch.nn.init.normal_(parameter)
    metric.save(tmp_path / "pair_metric.safetensors")
    return metric, load_pair_scorer(tmp_path / "pair_metric.safetensors")


def test_it_gives_what_the_trained_metric_gives(trained):
    metric, scorer = trained
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 5)).astype(np.float32), 3 * rng.normal(size=(6, 5)).astype(np.float32)
    expected = metric(torch.from_numpy(x), torch.from_numpy(y)).detach().numpy()
    np.testing.assert_allclose(scorer.paired(x[:, None], y[None]), expected, atol=1e-6)
    np.testing.assert_allclose(scorer.paired(x, y), expected.diagonal(), atol=1e-6)
    np.testing.assert_allclose(scorer.paired(y, x), scorer.paired(x, y), atol=1e-6)


def test_many_pairs_give_what_each_gives_alone_and_take_the_memory_of_few():
    rng = np.random.default_rng(2)
    dim, count = 256, 20_000
    weights = (rng.normal(size=dim).astype(np.float32), rng.normal(size=dim).astype(np.float32), 0.1)
    scorer = PairScorer(*weights)
    first, second = (rng.normal(size=(rows, dim)).astype(np.float32) for rows in (50, 90))
    pairs = np.stack([rng.integers(50, size=count), rng.integers(90, size=count)], axis=1)
    # as it was done before: all pairs at once
    together = scorer.paired(first[pairs[:, 0]], second[pairs[:, 1]])
    tracemalloc.start()
    found = scorer.of_pairs(first, second, pairs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, together, atol=1e-6)
    assert peak < count * dim * 4 / 3, "one side of all pairs takes 20 MB"


def test_large_weights_do_not_overflow():
    scorer = PairScorer(np.full(2, 1e4, np.float32), np.zeros(2, np.float32), -1e4)
    with np.errstate(over="raise"):
        assert scorer.paired([[1, 0], [1, 0], [1, 0]], [[1, 0], [-1, 0], [0, 0]]).tolist() == [0.0, 1.0, 0.5]


def test_other_dimensions_and_other_files_are_named(trained, tmp_path):
    with pytest.raises(ReidError, match=r"\(2, 4\).*5 dimensions"):
        trained[1].paired(np.zeros((2, 4)), np.zeros((2, 4)))
    with pytest.raises(UsageError, match="gone"):
        load_pair_scorer(tmp_path / "gone.safetensors")
    (tmp_path / "text.safetensors").write_text("nothing")
    save_file({"difference": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    for name in ("text", "other"):
        with pytest.raises(ReidError, match=name):
            load_pair_scorer(tmp_path / f"{name}.safetensors")


def test_it_needs_no_torch():
    code = "import reid.evaluation.pair_metric, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
