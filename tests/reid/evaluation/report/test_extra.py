"""What a judgement says beyond the headline, against the library's own functions and against cases with a
known answer.
"""

from pathlib import Path

import numpy as np
import pytest

from reid.evaluation import CORRUPTIONS, distances_between, k_reciprocal, rank_distances
from reid.evaluation.pair_metric import PairScorer
from reid.evaluation.report import EmbeddedSet, judge, judge_corrupted, judge_extra, rank, rescored_by

PEOPLE, SHOTS, TRUE, NOISE = 12, 3, 8, 24


def sides(spread: float, noise: float, seed: int = 0) -> tuple[EmbeddedSet, EmbeddedSet]:
    """People as points with ``spread`` in the dimensions that count, and ``noise`` in others that do not."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(PEOPLE, TRUE))

    def side(camera: str) -> EmbeddedSet:
        people = np.repeat(np.arange(PEOPLE), SHOTS)
        rows = np.concatenate([centres[people] + spread * rng.normal(size=(len(people), TRUE)),
                               noise * rng.normal(size=(len(people), NOISE))], axis=1)  # fmt: skip
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        names = np.array([f"p{one:02}" for one in people])
        return EmbeddedSet(
            rows.astype(np.float32),
            names,
            np.full(len(names), camera),
            [Path(f"{camera}/{row}") for row in range(len(names))],
        )

    return side("1"), side("2")


def labels(query: EmbeddedSet, gallery: EmbeddedSet):  # type: ignore[no-untyped-def]
    return query.identities, query.cameras, gallery.identities, gallery.cameras


def test_every_figure_of_perfect_embeddings_is_perfect() -> None:
    query, gallery = sides(0.01, 0.0)
    found = judge_extra(query, gallery, judge(query, gallery, bootstrap=0, seed=0), seed=0)
    assert found.clusters is not None
    assert found.folds is not None
    assert found.clusters.nmi == found.clusters.bcubed_f1 == pytest.approx(1)
    assert found.clusters.clusters == PEOPLE
    assert found.folds.accuracy == 1
    assert {report.mean_ap for report in found.rankings.values()} == {1.0}
    assert set(found.identification) == {
        f"{unit}, {policy}" for unit in ("image", "tracklet") for policy in ("min", "mean", "top_k")
    }
    assert {curve.at(0.0) for curve in found.identification.values()} == {1.0}
    assert found.summary()["open_set"]["tracklet, min"] == {
        "rate_at_far_0.01": 1.0,
        "rate_at_far_0.1": 1.0,
        "unknown_probes": PEOPLE,
    }


def test_hard_embeddings_are_told_apart_from_easy_ones() -> None:
    query, gallery = sides(1.0, 0.3)
    judged = judge(query, gallery, bootstrap=0, seed=0)
    found = judge_extra(query, gallery, judged, seed=0)
    direct = rank_distances(
        k_reciprocal(query.embeddings, gallery.embeddings), *labels(query, gallery), name=""
    )
    assert found.rankings["k-reciprocal"].mean_ap == direct.mean_ap
    assert found.clusters is not None
    assert found.folds is not None
    assert found.clusters.bcubed_f1 < 0.95
    assert found.folds.accuracy < 0.99
    assert found.identification["image, min"].at(0.01) < found.identification["tracklet, min"].at(0.1)


def test_the_learned_metric_orders_the_short_list_and_verifies() -> None:
    """A metric that looks at the dimensions that count alone is better at both than the distance of the
    embeddings.
    """
    query, gallery = sides(0.35, 0.6)
    weights = np.concatenate([np.full(TRUE, 20.0), np.zeros(NOISE)]).astype(np.float32)
    scorer = PairScorer(weights, np.zeros(TRUE + NOISE, np.float32), -4.0)
    judged = judge(query, gallery, bootstrap=0, seed=0)
    found = rescored_by(scorer, query, gallery, judged)
    assert found.plain is judged.report
    assert found.rescored.mean_ap > found.plain.mean_ap + 0.05
    assert found.by_metric.eer < found.by_distance.eer - 0.02
    by_hand = rank_distances(
        lambda rows: scorer.paired(query.embeddings[rows][:, None], gallery.embeddings[None]),
        *labels(query, gallery),
        name="",
    )
    assert found.rescored.mean_ap == pytest.approx(by_hand.mean_ap), (
        "the short list holds the whole gallery here"
    )


def test_corrupted_queries_cost_what_ranking_them_again_says() -> None:
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 255, (PEOPLE, 16, 8, 3), np.uint8)
    images = {
        camera: np.clip(looks + rng.normal(0, 12, looks.shape), 0, 255).astype(np.uint8)
        for camera in ("1", "2")
    }

    def embed(pixels: np.ndarray) -> np.ndarray:
        rows = pixels.reshape(len(pixels), -1).astype(np.float32) - 127
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    names = np.array([f"p{one:02}" for one in range(PEOPLE)])
    query, gallery = (
        EmbeddedSet(embed(own), names, np.full(PEOPLE, camera), [Path(name) for name in names])
        for camera, own in images.items()
    )
    report = rank(query, gallery)
    found = judge_corrupted(query, gallery, report, [(0, images["1"])], embed, severity=5, seed=0)
    parts = [(0, images["1"][:5]), (5, images["1"][5:])]
    assert judge_corrupted(query, gallery, report, parts, embed, severity=5, seed=0) == found, (
        "in blocks as at once"
    )
    assert set(found) == set(CORRUPTIONS)
    clean = report.mean_ap
    assert clean == 1
    assert all(one["mean_ap"].clean == clean for one in found.values())
    assert max(one["mean_ap"].fall for one in found.values()) > 0.2, "at severity 5 hardly a person is left"
    distances = distances_between(query.embeddings, gallery.embeddings)(np.arange(PEOPLE))
    assert distances.argmin(1).tolist() == list(range(PEOPLE))
