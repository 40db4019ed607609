"""Intervals over people."""

import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from reid.evaluation import bootstrap_interval, paired_bootstrap, rank_gallery


def ranked(seed, people=60, noise=1.0, each=4):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((people, 8))
    ids = np.repeat(np.arange(people), each)
    rng = np.random.default_rng(seed)
    query, gallery = (centres[ids] + noise * rng.standard_normal((len(ids), 8)) for _ in range(2))
    return rank_gallery(query, ids, np.zeros(len(ids), int), gallery, ids, np.ones(len(ids), int)), ids


def test_interval_agrees_with_a_plain_loop_over_drawn_people():
    report, ids = ranked(1)
    ours = bootstrap_interval(report, ids, samples=4000)
    rng = np.random.default_rng(9)
    means = []
    for _ in range(2000):
        drawn = rng.integers(0, 60, 60)
        means.append(np.concatenate([report.per_query_ap[ids == person] for person in drawn]).mean())
    low, high = np.quantile(means, (0.025, 0.975))
    assert ours.value == pytest.approx(report.mean_ap)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.006)
    assert ours.people == 60
    assert bootstrap_interval(report, ids, samples=4000) == ours


def test_people_not_queries_are_drawn():
    report, ids = ranked(1)
    by_person, by_query = (
        bootstrap_interval(report, who, samples=2000) for who in (ids, np.arange(len(ids)))
    )
    # Queries of one person share its gallery images, so that drawing them one by one would promise too much.
    assert by_person.high - by_person.low > 1.15 * (by_query.high - by_query.low)


@pytest.mark.parametrize("figure", ["mean_ap", "mean_inp", "rank1", "rank5"])
def test_a_better_model_is_found_better_and_an_equal_one_is_not(figure):
    (bad, ids), (good, _), (same, _) = ranked(1, noise=1.0), ranked(1, noise=0.5), ranked(2, noise=1.0)
    better = paired_bootstrap(bad, good, ids, figure=figure)
    assert better.low > 0
    assert better.is_significant
    assert better.share_better == 1
    assert paired_bootstrap(good, bad, ids, figure=figure).high < 0
    assert not paired_bootstrap(bad, same, ids, figure=figure).is_significant
    assert paired_bootstrap(bad, bad, ids, figure=figure).value == 0


def test_bad_input_is_named():
    report, ids = ranked(1)
    with pytest.raises(ReidError, match=r"people have shape \(239,\) but 240 queries"):
        bootstrap_interval(report, ids[1:])
    with pytest.raises(ReidError, match="valid queries show 1 person"):
        bootstrap_interval(report, np.zeros(240, int))
    with pytest.raises(ReidError, match=r"different queries \(240 and 40 valid\)"):
        paired_bootstrap(report, ranked(1, people=10)[0], ids)
    for options in ({"figure": "rank0"}, {"figure": "auc"}, {"confidence": 1.0}, {"samples": 0}):
        with pytest.raises(UsageError):
            bootstrap_interval(report, ids, **options)
