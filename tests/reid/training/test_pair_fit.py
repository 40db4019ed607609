import numpy as np
import torch

from reid.models.pair_metric import PairMetric
from reid.training.pair_fit import fit_pair_metric


def people(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twenty people with eight images; half of the dimensions hold nothing but noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(20), 8)
    rows = np.concatenate(
        [rng.normal(size=(20, 8))[labels] + 0.2 * rng.normal(size=(160, 8)), rng.normal(size=(160, 8))],
        axis=1,
    )
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def errors(metric: PairMetric, rows: np.ndarray, labels: np.ndarray) -> float:
    """Share of pairs on the wrong side of one half, each class weighing half."""
    with torch.no_grad():
        different = metric.logits(torch.from_numpy(rows)).sigmoid().numpy() > 0.5
    same, other = labels[:, None] == labels, ~np.eye(len(labels), dtype=bool)
    return 0.5 * float(different[same & other].mean() + (~different)[~same].mean())


def test_it_learns_which_dimensions_count_and_holds_on_other_people() -> None:
    metric = PairMetric(16)
    before = errors(metric, *people(1))
    fit_pair_metric(metric, *people(0), seed=0)
    assert errors(metric, *people(1)) < min(0.12, 0.6 * before)


def test_the_same_seed_gives_the_same_metric() -> None:
    metrics = [PairMetric(16) for _ in range(2)]
    for metric in metrics:
        fit_pair_metric(metric, *people(0), seed=3, steps=20)
    assert all(
        torch.equal(a, b) for a, b in zip(metrics[0].parameters(), metrics[1].parameters(), strict=True)
    )
