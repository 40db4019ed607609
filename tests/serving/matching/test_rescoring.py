from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from reid.errors import ReidError, UsageError
from reid.evaluation.pair_metric import PairScorer
from reid.model_files import PAIR_METRIC
from serving.gallery import Gallery
from serving.matching import identify, identify_rescored, open_pair_scorer
from serving.matching.identification import UNKNOWN

TRUE = 4  # dimensions that tell people apart; as many more hold the light of the day


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def scorer() -> PairScorer:
    """Looks at the dimensions that tell people apart alone."""
    return PairScorer(np.repeat([40.0, 0.0], TRUE).astype(np.float32), np.zeros(2 * TRUE, np.float32), -2.0)


@pytest.fixture
def people() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, TRUE))


@pytest.fixture
def gallery(tmp_path: Path, people: np.ndarray):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    with Gallery.open(tmp_path / "g.db", "m", create=True) as opened:
        for number, person in enumerate(people):
            opened.enroll(
                f"p{number}",
                unit(np.concatenate([np.tile(person, (3, 1)), 1.5 * rng.normal(size=(3, TRUE))], axis=1)),
            )
        yield opened


def probes(people: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(2)
    return unit(np.concatenate([np.repeat(people, 20, axis=0), 1.5 * rng.normal(size=(120, TRUE))], axis=1))


@pytest.mark.parametrize("policy", ["min", "mean", "top_k"])
def test_g_decides_between_those_within_the_threshold(
    gallery: Gallery, scorer: PairScorer, people: np.ndarray, policy: str
) -> None:
    truth = [f"p{number}" for number in np.repeat(np.arange(6), 20)]
    plain = identify(probes(people), gallery, 2.0, policy)
    found = identify_rescored(probes(people), gallery, 2.0, scorer, policy)

    def right(matches: list) -> int:  # type: ignore[type-arg]
        return sum(one.identity == name for one, name in zip(matches, truth, strict=True))

    assert right(found) > right(plain) + 20
    changed = [
        (ours, theirs) for ours, theirs in zip(found, plain, strict=True) if ours.identity != theirs.identity
    ]
    assert all(ours.margin <= 0 or ours.runner_up != theirs.identity for ours, theirs in changed)


def test_the_distance_alone_says_who_is_unknown(
    gallery: Gallery, scorer: PairScorer, people: np.ndarray
) -> None:
    for threshold in (0.0, 0.6, 0.9):
        plain, found = (
            identify(probes(people), gallery, threshold),
            identify_rescored(probes(people), gallery, threshold, scorer),
        )
        assert [one.identity == UNKNOWN for one in plain] == [one.identity == UNKNOWN for one in found]
        assert all(one.distance <= threshold for one in found if one.identity != UNKNOWN)
    alone = [index for index, one in enumerate(plain) if one.runner_up_distance > 0.9]
    assert alone
    for index in alone:  # with one person near, g is not asked
        assert (found[index].identity, found[index].runner_up) == (
            plain[index].identity,
            plain[index].runner_up,
        )
        assert found[index].margin == pytest.approx(plain[index].margin, abs=1e-5)


def test_an_empty_gallery_knows_nobody(tmp_path: Path, scorer: PairScorer) -> None:
    with Gallery.open(tmp_path / "empty.db", "m", create=True) as empty:
        found = identify_rescored(unit(np.ones((2, 2 * TRUE))), empty, 1.0, scorer)
    assert [one.identity for one in found] == [UNKNOWN, UNKNOWN]


def test_the_metric_of_a_model_directory(tmp_path: Path, scorer: PairScorer) -> None:
    with pytest.raises(
        UsageError, match=r"has no learned metric \(pair_metric.safetensors\): export a quadruplet model"
    ):
        open_pair_scorer(tmp_path)
    bias = np.array(scorer.bias, np.float32)
    save_file(
        {"difference": scorer.difference, "product": scorer.product, "bias": bias}, tmp_path / PAIR_METRIC
    )
    assert open_pair_scorer(tmp_path).bias == scorer.bias
    (tmp_path / PAIR_METRIC).write_bytes(b"no tensors")
    with pytest.raises(ReidError, match="cannot be read"):
        open_pair_scorer(tmp_path)
