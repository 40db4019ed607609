"""Clustering figures against scikit-learn and against loops over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix

from reid.errors import ReidError, UsageError
from reid.evaluation.clustering import _between_all, cluster_by_threshold, score_clusters

labels = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
        st.lists(st.integers(-1, 6), min_size=n, max_size=n),
    )
)


@settings(max_examples=150, deadline=None)
@given(labels)
def test_agrees_with_scikit_learn_and_loops(case):
    truth, found = map(np.asarray, case)
    if len(np.unique(truth)) == len(truth):
        return
    report = score_clusters(truth, found)
    assert report.nmi == pytest.approx(normalized_mutual_info_score(truth, found), abs=1e-9)
    (_, wrong), (missed, right) = pair_confusion_matrix(truth, found)
    assert report.pairwise_precision == pytest.approx(right / (right + wrong) if right + wrong else 0)
    assert report.pairwise_recall == pytest.approx(right / (right + missed))
    precisions = [np.mean(truth[found == found[i]] == truth[i]) for i in range(len(truth))]
    recalls = [np.mean(found[truth == truth[i]] == found[i]) for i in range(len(truth))]
    assert report.bcubed_precision == pytest.approx(np.mean(precisions))
    assert report.bcubed_recall == pytest.approx(np.mean(recalls))
    assert report.bcubed_f1 == pytest.approx(2 / (1 / np.mean(precisions) + 1 / np.mean(recalls)))
    assert (report.images, report.identities, report.clusters) == (
        len(truth),
        len(set(case[0])),
        len(set(case[1])),
    )


def test_names_do_not_matter_and_perfect_is_one():
    report = score_clusters(["a", "a", "b", "b", "c"], [7, 7, 1, 1, 4])
    assert (report.nmi, report.pairwise_f1, report.bcubed_f1) == (pytest.approx(1), 1, 1)
    assert report.summary()["clusters"] == 3


def test_threshold_clusters_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6, 8))[np.repeat(np.arange(6), 10)] + 0.4 * rng.standard_normal((60, 8))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for distance in (0.3, 0.6, 1.1):
        theirs = AgglomerativeClustering(
            n_clusters=None, distance_threshold=distance, linkage="average"
        ).fit_predict(unit)
        ours = cluster_by_threshold(rows, distance)
        assert normalized_mutual_info_score(theirs, ours) == pytest.approx(1)
        assert ours.min() == 0
    assert len(np.unique(cluster_by_threshold(rows, 0.0))) == 60
    assert cluster_by_threshold(rows[:1], 0.5).tolist() == [0]


def test_distances_are_scipys_over_several_blocks_and_of_rows_that_are_nearly_one():
    rows = np.random.default_rng(4).normal(size=(600, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    steps = 10.0 ** -np.arange(4, 12)
    rows[300:308] = rows[7:15]  # in another block
    rows[308:316] = rows[7:15] + steps[:, None]
    expected = pdist(rows)
    np.testing.assert_allclose(_between_all(rows), expected, rtol=1e-9, atol=0)
    assert (expected == 0).sum() == 8


def test_bad_input_is_named():
    with pytest.raises(ReidError, match="no images"):
        score_clusters([], [])
    with pytest.raises(ReidError, match=r"clusters have shape \(2,\)"):
        score_clusters([1, 1, 2], [1, 2])
    with pytest.raises(ReidError, match="each of the 3 images is alone"):
        score_clusters([1, 2, 3], [1, 1, 1])
    with pytest.raises(UsageError, match="clustering distance"):
        cluster_by_threshold(np.eye(3), float("nan"))
    with pytest.raises(ReidError, match="20001 images are too many"):
        cluster_by_threshold(np.ones((20001, 1)), 1.0)
