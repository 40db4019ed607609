"""Continuous labels against scikit-learn and loops."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from reid.errors import ReidError, UsageError
from reid.evaluation.blocks import block_memory
from reid.evaluation.continuous import score_continuous


@pytest.mark.parametrize("block_bytes", [2**26, 7 * 8 * 90])
def test_agrees_with_scikit_learn(block_bytes):
    rng = np.random.default_rng(0)
    labels, gallery_labels = rng.standard_normal((25, 3)), rng.standard_normal((90, 3))
    mixing = rng.standard_normal((3, 6))
    query, gallery = (
        labels @ mixing + rng.standard_normal((25, 6)),
        gallery_labels @ mixing + rng.standard_normal((90, 6)),
    )
    with block_memory(block_bytes):
        report = score_continuous(query, labels, gallery, gallery_labels, k=10)
    apart = np.linalg.norm(labels[:, None] - gallery_labels[None], axis=-1)
    embedded = np.linalg.norm(query[:, None] - gallery[None], axis=-1)
    assert report.ndcg == pytest.approx(ndcg_score(1 / (1 + apart), -embedded, k=10))
    expected = np.mean([apart[row, np.argsort(embedded[row])[:10]].mean() for row in range(25)])
    assert report.mean_label_distance == pytest.approx(expected)
    assert report.best_label_distance == pytest.approx(np.sort(apart, axis=1)[:, :10].mean())
    assert (report.k, report.queries) == (10, 25)


def test_labels_as_embeddings_are_perfect():
    labels = np.random.default_rng(0).standard_normal((40, 2))
    report = score_continuous(labels[:10], labels[:10], labels[10:], labels[10:], k=5)
    assert report.ndcg == pytest.approx(1)
    assert report.mean_label_distance == pytest.approx(report.best_label_distance)
    assert score_continuous(labels[:10], labels[:10, 0], labels[10:], labels[10:, 0], k=30).ndcg < 1


def test_bad_input_is_named():
    rows = np.ones((4, 2))
    for labels, message in (
        (np.ones(3), r"query labels have shape \(3, 1\)"),
        (np.asarray([1, 2, np.nan, np.inf]), "NaN or infinity in 2 of 4"),
        (np.ones((4, 3)), "query labels have 3 values"),
    ):
        with pytest.raises(ReidError, match=message):
            score_continuous(rows, labels, rows, np.ones(4), k=2)
    with pytest.raises(UsageError, match="k=5: want 1 to 4"):
        score_continuous(rows, np.ones(4), rows, np.ones(4), k=5)
