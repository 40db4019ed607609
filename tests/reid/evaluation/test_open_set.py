"""Open set: policies against loops, thresholds against counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError, UsageError
from reid.evaluation import (
    calibrate_threshold,
    detection_identification_rate,
    open_set_scores,
    person_distances,
    policies,
    pool_tracklets,
)
from reid.evaluation.blocks import block_memory
from reid.evaluation.open_set import limit_for


def people(seed, persons=20, images=6, dim=16, spread=0.6):
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(persons), images)
    rows = rng.standard_normal((persons, dim))[ids] + spread * rng.standard_normal((len(ids), dim))
    return rows.astype(np.float32), ids


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("policy", policies.POLICIES)
@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_person_distances_agree_with_loops(policy, block_bytes):
    rows, ids = people(0)
    probes, references = rows[::5], rows
    names = np.asarray([f"{i:04}" for i in ids])
    names[:4] = "0001"  # people with different numbers of references, in no order
    turn = np.random.default_rng(1).permutation(len(names))
    with block_memory(block_bytes):
        found, who = person_distances(probes, references[turn], names[turn], policy, top_k=3)
    assert who.tolist() == sorted(set(names.tolist()))
    for row, probe in enumerate(unit(probes.astype(np.float64))):
        for column, name in enumerate(who):
            own = unit(references[names == name].astype(np.float64))
            each = np.sort(np.linalg.norm(own - probe, axis=1))
            expected = {
                "min": each[0],
                "top_k": each[:3].mean(),
                "mean": np.linalg.norm(unit(own.mean(axis=0)) - probe),
            }[policy]
            # Near 0 the square root magnifies float32 rounding of the square.
            assert found[row, column] == pytest.approx(expected, abs=1e-3 if each[0] < 0.01 else 2e-5)
    assert found.dtype == np.float32
    assert found.shape == (len(probes), len(who))


@pytest.mark.parametrize("policy", policies.POLICIES)
@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_scores_in_blocks_are_those_of_the_whole_table(policy, block_bytes):
    """Against the table of all probes and people, as it was held before."""
    rows, ids = people(3)
    cams = np.random.default_rng(4).integers(0, 3, len(ids))
    probes = np.arange(0, len(ids), 4)
    table = np.full((len(probes), len(np.unique(ids))), np.inf)
    for camera in range(3):
        part, usable = np.flatnonzero(cams[probes] == camera), np.flatnonzero(cams != camera)
        found, who = person_distances(rows[probes[part]], rows[usable], ids[usable], policy)
        table[np.ix_(part, who)] = found
    own = table[np.arange(len(probes)), ids[probes]]
    others = table.copy()
    others[np.arange(len(probes)), ids[probes]] = np.inf
    known = np.isfinite(own)

    with block_memory(block_bytes):
        scores = open_set_scores(
            rows[probes], ids[probes], rows, ids, policy=policy, probe_cams=cams[probes], reference_cams=cams
        )
    # One row of a matrix product may round otherwise than many.
    np.testing.assert_allclose(scores.impostor, others.min(axis=1), atol=1e-5)
    np.testing.assert_allclose(scores.genuine, np.minimum(own, others.min(axis=1))[known], atol=1e-5)
    assert scores.named_right.tolist() == (own <= others.min(axis=1))[known].tolist()


def test_lone_references_give_plain_distances():
    rows, ids = people(0, images=1)
    for policy in policies.POLICIES:
        found, _ = person_distances(rows[:3], rows, ids, policy)
        np.testing.assert_allclose(
            found, np.linalg.norm(unit(rows)[:3, None] - unit(rows)[None], axis=-1), atol=2e-3
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.02, 0.1, 0.37]), st.sampled_from(policies.POLICIES))
def test_no_more_unknown_probes_are_accepted_than_wanted(seed, rate, policy):
    rows, ids = people(seed)
    probes, references = np.arange(len(ids)) % 2 == 0, np.arange(len(ids)) % 2 == 1
    threshold = calibrate_threshold(
        rows[probes],
        ids[probes],
        rows[references],
        ids[references],
        false_accept_rate=rate,
        policy=policy,
        bootstrap=20,
    )
    # The protocol played out by hand: one probe at a time, its own person taken out of the gallery.
    accepted = []
    for row, own in zip(rows[probes], ids[probes], strict=True):
        others = references & (ids != own)
        distances, _ = person_distances(row[None], rows[others], ids[others], policy)
        accepted.append(distances.min() <= threshold.distance + 1e-6)
    assert rate - 1 / len(accepted) < np.mean(accepted) <= rate + 1 / len(accepted)
    scores = open_set_scores(
        rows[probes], ids[probes], rows[references], ids[references], policy=policy
    ).impostor
    assert np.sum(scores <= threshold.distance) == int(rate * len(scores))
    assert threshold.low is not None
    assert threshold.low <= threshold.distance <= threshold.high
    assert (threshold.probes, threshold.policy, threshold.unit) == (probes.sum(), policy, "image")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.02, 0.1, 0.37]), st.sampled_from(policies.POLICIES))
def test_the_middle_names_as_many_right_as_the_limit_and_accepts_no_more(seed, rate, policy):
    rows, ids = people(seed)
    half = (rows[::2], ids[::2], rows[1::2], ids[1::2])
    limit, middle = (
        calibrate_threshold(*half, false_accept_rate=rate, policy=policy, placement=where, bootstrap=20)
        for where in ("limit", "middle")
    )
    scores = open_set_scores(*half, policy=policy)
    right = scores.genuine[scores.named_right]
    assert middle.distance <= limit.distance
    assert np.sum(right <= middle.distance) == np.sum(right <= limit.distance)
    last = right[right <= limit.distance].max()
    assert middle.distance == pytest.approx((last + limit.distance) / 2)
    assert middle.low <= middle.high <= limit.high + 1e-9


def test_people_far_apart_get_a_threshold_between_them_and_strangers():
    # Three people, their images 0.1 apart and at right angles to everybody else.
    turn = np.arcsin(0.05) * 2
    rows = np.zeros((6, 6))
    for person in range(3):
        rows[person, 2 * person] = 1.0
        rows[person + 3, 2 * person : 2 * person + 2] = np.cos(turn), np.sin(turn)
    ids = np.arange(3)
    found = [
        calibrate_threshold(rows[3:], ids, rows[:3], ids, false_accept_rate=0.5, placement=one).distance
        for one in ("limit", "middle")
    ]
    np.testing.assert_allclose(found, [np.sqrt(2), (0.1 + np.sqrt(2)) / 2], atol=1e-3)


def test_equal_distances_never_push_the_rate_over():
    # Four of ten unknown probes lie exactly equally near: a rate of 0.3 must accept none of them.
    scores = np.asarray([0.5] * 4 + [0.7, 0.8, 0.9, 1.0, 1.1, 1.2])
    assert np.mean(scores <= limit_for(scores, 0.3)) == 0
    assert np.mean(scores <= limit_for(scores, 0.4)) == pytest.approx(0.4)
    assert np.mean(scores <= limit_for(scores, 0.5)) == pytest.approx(0.5)
    # 2.5 of ten probes: halfway between the second and the third distance.
    assert limit_for(np.arange(1, 11) / 10, 0.25) == pytest.approx(0.25)


def test_the_interval_narrows_with_more_people_and_repeats():
    def width(persons):
        rows, ids = people(3, persons=persons)
        first, second = (
            calibrate_threshold(
                rows[::2], ids[::2], rows[1::2], ids[1::2], false_accept_rate=0.2, bootstrap=200, seed=4
            )
            for _ in range(2)
        )
        assert first == second
        return first.high - first.low

    assert width(400) < width(15)


def test_probes_never_meet_their_own_camera():
    # The probe's double stands in its own camera; without it the nearest other person is far.
    probe, double, other = [[1.0, 0.0]], [1.0, 0.0], [0.0, 1.0]
    references, ids, cams = [double, other, [-1.0, 0.1]], ["b", "c", "a"], ["x", "y", "y"]
    open_view = open_set_scores(probe, ["a"], references, ids)
    assert open_view.impostor == pytest.approx(0, abs=1e-3)
    assert not open_view.named_right[0]
    apart = open_set_scores(probe, ["a"], references, ids, probe_cams=["x"], reference_cams=cams)
    assert apart.impostor == pytest.approx(np.sqrt(2), abs=1e-6)


def test_identification_curve_agrees_with_counts():
    rows, ids = people(8, spread=1.0)
    known = ids < 15
    probes, references = np.arange(len(ids)) % 2 == 0, (np.arange(len(ids)) % 2 == 1) & known
    scores = open_set_scores(rows[probes], ids[probes], rows[references], ids[references])
    curve = detection_identification_rate(scores)
    assert (curve.known_probes, curve.unknown_probes, curve.people) == (
        (probes & known).sum(),
        probes.sum(),
        15,
    )
    distances, who = person_distances(rows[probes], rows[references], ids[references])
    own = ids[probes]
    for threshold in (0.6, 0.9, 1.2):
        nearest = who[distances.argmin(axis=1)]
        right = (nearest == own) & (distances.min(axis=1) <= threshold)
        others = np.where(who[None] == own[:, None], np.inf, distances).min(axis=1)
        at = np.searchsorted(curve.thresholds, threshold, side="right") - 1
        assert curve.identification_rate[at] == pytest.approx(right[own < 15].mean())
        assert curve.false_accept_rate[at] == pytest.approx(np.mean(others <= threshold))
    assert 0 < curve.at(0.1) <= curve.at(0.9) < 1
    assert curve.at(0.0) == curve.identification_rate[curve.false_accept_rate == 0].max()


def test_tracklets_are_pooled_by_name():
    rows = unit(np.random.default_rng(0).standard_normal((6, 4)))
    pooled, first = pool_tracklets(rows, ["b", "a", "b", "c", "a", "b"])
    np.testing.assert_allclose(pooled[1], unit(rows[[0, 2, 5]].mean(axis=0)), rtol=1e-5)
    assert first.tolist() == [1, 0, 3]


def test_bad_input_is_named():
    rows, ids = people(0)
    half = {
        "probe_emb": rows[::2],
        "probe_ids": ids[::2],
        "reference_emb": rows[1::2],
        "reference_ids": ids[1::2],
    }
    with pytest.raises(
        ReidError,
        match=r"60 impostor probes are too few for a false accept rate of 0\.001: want at least 1000",
    ):
        calibrate_threshold(**half, false_accept_rate=0.001)
    with pytest.raises(ReidError, match="references show 1 person"):
        calibrate_threshold(**half | {"reference_ids": [7] * 60}, false_accept_rate=0.1)
    with pytest.raises(ReidError, match="probes show 1 person"):
        calibrate_threshold(**half | {"probe_ids": [7] * 60}, false_accept_rate=0.1)
    with pytest.raises(ReidError, match="probe embeddings hold NaN"):
        calibrate_threshold(**half | {"probe_emb": rows[::2] * np.nan}, false_accept_rate=0.1)
    with pytest.raises(ReidError, match="one side and integers on the other"):
        calibrate_threshold(**half | {"probe_ids": ids[::2].astype(str)}, false_accept_rate=0.1)
    with pytest.raises(ReidError, match="60 probes are junk"):
        calibrate_threshold(**half | {"probe_ids": [-1] * 60}, false_accept_rate=0.1)
    with pytest.raises(ReidError, match="probes' own camera"):
        open_set_scores(**half, probe_cams=["x"] * 60, reference_cams=["x"] * 60)
    with pytest.raises(UsageError, match="one side only"):
        open_set_scores(**half, probe_cams=["x"] * 60)
    for options in (
        {"false_accept_rate": 0.0},
        {"false_accept_rate": 0.1, "unit": "video"},
        {"false_accept_rate": 0.1, "policy": "max"},
    ):
        with pytest.raises(UsageError):
            calibrate_threshold(**half, **options)
    with pytest.raises(ReidError, match="known probes"):
        detection_identification_rate(open_set_scores(rows[::2], ids[::2] + 100, rows, ids))
