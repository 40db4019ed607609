"""Verification against scikit-learn and against counts by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc

from reid.errors import ReidError, UsageError
from reid.evaluation import verify, verify_folds


def pairs(seed, genuine=80, impostors=300, step=0.02):
    """Rounded distances, so that some are equal within and across the two kinds."""
    rng = np.random.default_rng(seed)
    distances = np.append(rng.normal(0.8, 0.25, genuine), rng.normal(1.3, 0.2, impostors))
    same = np.append(np.ones(genuine, bool), np.zeros(impostors, bool))
    order = rng.permutation(len(same))
    return (np.round(distances / step) * step)[order], same[order]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.02, 1e-9]))
def test_agrees_with_scikit_learn(seed, step):
    distances, same = pairs(seed, step=step)
    report = verify(distances, same, fars=(0.1, 0.01))
    fpr, tpr, thresholds = sklearn_roc(same, -distances, drop_intermediate=False)
    np.testing.assert_allclose(report.roc.far, fpr)
    np.testing.assert_allclose(report.roc.tar, tpr)
    np.testing.assert_allclose(report.roc.thresholds, -thresholds)
    assert report.auc == pytest.approx(roc_auc_score(same, -distances))
    # FAR + TAR - 1 never falls along the curve; where it crosses zero the two errors are equal.
    assert report.eer == pytest.approx(np.interp(0, fpr + tpr - 1, fpr), abs=1e-9)
    for far in (0.1, 0.01):
        assert report.tar_at_far[far] == tpr[fpr <= far].max()


def test_small_case_by_hand():
    report = verify([0.1, 0.2, 0.3, 0.4, 0.5], [True, False, True, False, False], fars=(0.2, 0.5))
    assert (report.genuine_pairs, report.impostor_pairs) == (2, 3)
    assert report.tar_at_far == {0.2: 0.5, 0.5: 1.0}
    # Between (1/3, 1/2) and (1/3, 1) the line FAR = 1 - TAR is met at FAR 1/3.
    assert report.eer == pytest.approx(1 / 3)
    assert report.accuracy == pytest.approx(0.8)
    assert 0.1 < report.threshold < 0.2 or 0.3 < report.threshold < 0.4
    assert (
        np.mean(
            (np.asarray([0.1, 0.2, 0.3, 0.4, 0.5]) <= report.threshold) == [True, False, True, False, False]
        )
        == report.accuracy
    )


def test_smaller_distance_means_same():
    distances, same = pairs(0)
    assert verify(distances, same).auc > 0.9
    assert verify(-distances, same).auc < 0.1


def test_separated_pairs_have_no_error_and_support_is_counted():
    report = verify([0.1, 0.2, 0.9, 1.0], [1, 1, 0, 0])
    assert (report.eer, report.accuracy, report.tar_at_far[1e-4]) == (0, 1, 1)
    assert report.threshold == pytest.approx(0.55)
    assert not report.is_supported(1e-2)
    assert verify(*pairs(0, impostors=1000)).is_supported(1e-2)


def test_folds_choose_the_threshold_elsewhere():
    # In fold 0 the distances are ten times as large: a threshold from the other fold accepts nothing there.
    distances = np.asarray([1.0, 2.0, 5.0, 6.0, 10.0, 20.0, 50.0, 60.0])
    same = np.asarray([1, 1, 0, 0, 1, 1, 0, 0])
    folds = np.asarray([1, 1, 1, 1, 0, 0, 0, 0])
    report = verify_folds(distances, same, folds, wanted_far=0.1)
    assert report.accuracy == pytest.approx(0.5)
    assert verify_folds(distances[:4].repeat(10), same[:4].repeat(10), 10).accuracy == 1
    assert report.folds == 2


def test_random_folds_are_repeatable_and_near_the_plain_accuracy():
    distances, same = pairs(5, 500, 500)
    first, second = verify_folds(distances, same), verify_folds(distances, same)
    assert first == second
    assert first.folds == 10
    assert abs(first.accuracy - verify(distances, same).accuracy) < 0.03
    assert first.val == pytest.approx(verify(distances, same, fars=(1e-3,)).tar_at_far[1e-3], abs=0.1)


@pytest.mark.parametrize(
    ("distances", "same", "message"),
    [
        ([], [], "no pairs"),
        ([0.1, np.nan], [True, False], "1 of 2 distances are NaN"),
        ([0.1, 0.2], [True], "give one of each per pair"),
        ([0.1, 0.2], [True, True], "needs impostor pairs"),
        ([0.1, 0.2], [False, False], "needs genuine pairs"),
        ([0.1, 0.2], [1, 2], "true or false"),
        ([0.1, 0.2], ["a", "b"], "true or false"),
    ],
)
def test_bad_pairs_are_named(distances, same, message):
    with pytest.raises(ReidError, match=message):
        verify(distances, same)


def test_bad_folds_and_rates_are_named():
    distances, same = pairs(0, 5, 5)
    with pytest.raises(ReidError, match="use fewer folds or more pairs"):
        verify_folds(distances, same, 10)
    with pytest.raises(ReidError, match="one fold per pair"):
        verify_folds(distances, same, np.zeros(3))
    with pytest.raises(UsageError, match="between 0 and 1"):
        verify(distances, same, fars=(0,))
