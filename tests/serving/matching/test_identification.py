from math import inf
from pathlib import Path

import numpy as np
import pytest

from reid.card import InputSpec, ModelCard, ModelFile, Threshold
from reid.errors import ReidError, UsageError
from reid.evaluation.policies import POLICIES, person_distances
from serving.gallery import Gallery
from serving.matching import Match, calibrated_threshold, decide, drop_near_ties, identify, verify_pair
from serving.matching.identification import UNKNOWN
from tests.serving.rows import at_angle, chord


def unit(rows: object) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def gallery(tmp_path: Path):
    with Gallery.open(tmp_path / "g.db", "m", create=True) as opened:
        yield opened


def test_each_policy_on_a_hand_made_gallery(gallery: Gallery) -> None:
    gallery.enroll("near once", at_angle(10, 100, 120))
    gallery.enroll("near always", at_angle(20, 22, 24))
    probe = at_angle(0)
    best = {policy: identify(probe, gallery, 0.5, policy, top_k=2)[0] for policy in POLICIES}
    assert (best["min"].identity, best["mean"].identity, best["top_k"].identity) == (
        "near once",
        "near always",
        "near always",
    )
    assert best["min"].distance == pytest.approx(chord(10), abs=1e-5)
    assert best["min"].runner_up_distance == pytest.approx(chord(20), abs=1e-5)
    assert best["mean"].distance == pytest.approx(chord(22), abs=1e-5)
    assert best["top_k"].distance == pytest.approx((chord(20) + chord(22)) / 2, abs=1e-5)
    assert best["top_k"].runner_up_distance == pytest.approx((chord(10) + chord(100)) / 2, abs=1e-5)
    for match in best.values():
        assert match.margin == pytest.approx(match.runner_up_distance - match.distance)
        assert {match.identity, match.runner_up} == {"near once", "near always"}


def test_the_threshold_itself_is_accepted_and_what_is_beyond_is_unknown(gallery: Gallery) -> None:
    gallery.enroll("anna", at_angle(0))
    distance = identify(at_angle(30), gallery, 2.0)[0].distance
    inside, outside = (
        identify(at_angle(30), gallery, distance)[0],
        identify(at_angle(30), gallery, np.nextafter(distance, 0))[0],
    )
    assert (inside.identity, outside.identity) == ("anna", UNKNOWN)
    assert outside.nearest == "anna"
    assert outside.distance == distance
    assert (outside.runner_up, outside.runner_up_distance, outside.margin) == (None, inf, inf)


def test_a_name_needs_a_lead_over_the_runner_up() -> None:
    def decided(distance: float, second: float) -> Match:
        return decide([("anna", distance), ("bert", second)], 0.8)

    clear, tie, edge, far = decided(0.4, 0.6), decided(0.5, 0.55), decided(0.45, 0.5), decided(0.9, 0.95)
    kept = drop_near_ties([clear, tie, edge, far, decide([("anna", 0.7)], 0.8), decide([], 0.8)], 0.9)
    assert [one.identity for one in kept] == ["anna", UNKNOWN, "anna", UNKNOWN, "anna", UNKNOWN]
    assert (kept[1].nearest, kept[1].distance, kept[1].runner_up) == ("anna", 0.5, "bert")
    assert drop_near_ties([clear, tie, edge, far], 1.0) == [clear, tie, edge, far]


@pytest.mark.parametrize("policy", POLICIES)
def test_with_nobody_enrolled_everybody_is_unknown(gallery: Gallery, policy: str) -> None:
    matches = identify(at_angle(0, 50), gallery, 2.0, policy)
    assert [match.identity for match in matches] == [UNKNOWN, UNKNOWN]
    assert (matches[0].distance, matches[0].margin, matches[0].nearest) == (inf, 0.0, None)
    assert identify(np.empty((0, 2), np.float32), gallery, 2.0, policy) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_matches_are_the_two_smallest_person_distances(gallery: Gallery, policy: str) -> None:
    rng = np.random.default_rng(3)
    for person in range(12):
        gallery.enroll(f"p{person}", unit(rng.standard_normal((int(rng.integers(1, 9)), 16))))
    probes = unit(rng.standard_normal((40, 16)))
    distances, people = person_distances(probes, *gallery.references(), policy, 3)
    for match, row in zip(identify(probes, gallery, 1.1, policy), distances, strict=True):
        first, second = np.argsort(row)[:2]
        assert (match.nearest, match.runner_up) == (people[first], people[second])
        assert match.distance == pytest.approx(row[first], abs=1e-5)
        assert match.runner_up_distance == pytest.approx(row[second], abs=1e-5)
        assert match.identity == (people[first] if row[first] <= 1.1 else UNKNOWN)


def test_wrong_arguments_are_refused(gallery: Gallery) -> None:
    gallery.enroll("anna", at_angle(0))
    with pytest.raises(UsageError, match="policy 'best' is unknown"):
        identify(at_angle(0), gallery, 1.0, "best")
    with pytest.raises(UsageError, match="top_k is 0"):
        identify(at_angle(0), gallery, 1.0, "top_k", 0)
    with pytest.raises(UsageError, match="threshold is nan"):
        identify(at_angle(0), gallery, float("nan"))
    with pytest.raises(ReidError, match="row 1 has norm 2"):
        identify(np.array([[1, 0], [2, 0]]), gallery, 1.0)
    with pytest.raises(ReidError, match="3 numbers a row but the gallery's have 2"):
        identify(unit([[1, 2, 3]]), gallery, 1.0)


def test_a_pair_is_one_person_within_the_threshold() -> None:
    first, second = at_angle(0, 60)
    assert verify_pair(first, second, 1.01).same
    assert not verify_pair(first, second, 0.99).same
    assert verify_pair(first, second, 0.99).distance == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ReidError):
        verify_pair(first, unit([1, 1, 1]), 1.0)


def test_thresholds_come_from_the_card_or_not_at_all() -> None:
    calibrated = (Threshold(policy="mean", unit="tracklet", false_accept_rate=0.01, distance=0.7),)
    facts = {
        "name": "tiny",
        "dim": 2,
        "input": InputSpec(height=4, width=2),
        "files": {"fp32": ModelFile(path="model.onnx")},
    }
    card = ModelCard(**facts, thresholds=calibrated)
    assert calibrated_threshold(card, "mean", "tracklet") == 0.7
    with pytest.raises(
        ReidError,
        match="model tiny has no calibrated threshold for policy min, unit image: run reid calibrate",
    ):
        calibrated_threshold(card, "min", "image")
    with pytest.raises(UsageError, match="policy 'median'"):
        calibrated_threshold(card, "median", "image")
    with pytest.raises(UsageError, match="unit 'video'"):
        calibrated_threshold(card, "mean", "video")
