"""What a metric fitted to frozen embeddings is worth: a ready model's embeddings of some people, metrics
fitted to them, and other people ranked with each and without.

``--model`` is a model directory, or an ONNX file that torchreid exported. Every method is judged as the
exported model has it, as the plain Mahalanobis distance ``|L (x - y)|`` that a gallery of directions cannot
hold, and without the centre. Several draws of people; figures are means and standard deviations over them.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _measure import abilities, arguments, report
from _people import CUHK03, OSNET, World, ready, real

from reid.evaluation import rank_gallery
from reid.linear_metric import FittedMetric, fit_metric

METHODS: dict[str, dict[str, Any]] = {
    "KISSME": {"method": "kissme"},
    "XQDA": {"method": "xqda"},
    "XQDA, 64 numbers": {"method": "xqda", "dim": 64},
    "XQDA, kernel": {"method": "xqda", "landmarks": 512},
    "LMNN": {"method": "lmnn"},
}


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def forms(metric: FittedMetric, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What is ranked, by column."""
    found = {"exported": metric.apply(rows)}
    if metric.landmarks is None:
        found |= {"Mahalanobis": rows @ metric.weight.T, "no centre": unit(rows @ metric.weight.T)}
    return found


Figures = dict[tuple[str, int], list[dict[str, float]]]
"""By metric and number of people fitted to, of each draw: rank-1, mAP by form, numbers, seconds."""


def one_draw(world: World, draw: int, options: argparse.Namespace, figures: Figures) -> None:
    """Fit to some people and judge on others; adds to ``figures``."""
    rows, test = world.features, world.test_rows(draw)

    def judged(embeddings: np.ndarray) -> tuple[float, float]:
        sides = embeddings, world.identities[test], world.cameras[test]
        ranked = rank_gallery(*sides, *sides)
        return float(ranked.cmc[0]), float(ranked.mean_ap)

    rank1, mean_ap = judged(rows[test])
    plain = {"rank1": rank1, "exported": mean_ap, "dim": rows.shape[1]}
    figures.setdefault(("Euclidean", 0), []).append(plain)
    for count in map(int, options.fit_people.split(",")):
        kept = world.training_rows(draw, count)
        labelled = rows[kept], world.identities[kept], world.cameras[kept]
        people = len(np.unique(labelled[1]))
        for name, how in METHODS.items():
            if how["method"] == "lmnn" and draw >= options.lmnn_draws:
                continue
            began = time.perf_counter()
            metric = fit_metric(*labelled, shrinkage=options.shrinkage, **how).metric
            found = {"seconds": time.perf_counter() - began, "dim": float(metric.dim)}
            for form, embeddings in forms(metric, rows[test]).items():
                rank1, found[form] = judged(embeddings)
                found.setdefault("rank1", rank1)
            figures.setdefault((name, people), []).append(found)


def cell(found: list[dict[str, float]], key: str) -> str:
    """Mean and standard deviation over the draws."""
    if key not in found[0]:
        return ""
    values = [row[key] for row in found]
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    options = arguments(
        __doc__ or "",
        model=str(OSNET),
        images=str(CUHK03),
        test_people=100,
        fit_people="100,667",
        draws=3,
        lmnn_draws=1,
        shrinkage=0.1,
    )
    world = real(ready(Path(options.model)), Path(options.images), options.test_people)
    figures: Figures = {}
    for draw in range(options.draws):
        one_draw(world, draw, options, figures)
    table = [
        (
            name,
            people or "",
            f"{np.median([row['dim'] for row in found]):.0f}",
            *(cell(found, key) for key in ("rank1", "exported", "Mahalanobis", "no centre")),
            f"{np.median([row['seconds'] for row in found]):.1f}" if people else "",
        )
        for (name, people), found in figures.items()
    ]
    title = (
        f"{Path(options.model).name}: {options.test_people} people never fitted to, {options.draws} draws "
        f"({options.lmnn_draws} of LMNN); {abilities()}"
    )
    columns = ("metric", "people", "numbers", "rank-1", "mAP", "Mahalanobis", "no centre", "seconds")
    plain = [row["exported"] for row in figures["Euclidean", 0]]
    gains = {
        f"{name}, {people}": float(np.mean([row["exported"] for row in found]) - np.mean(plain[: len(found)]))
        for (name, people), found in figures.items()
        if people
    }
    draws = {f"{name}, {people}": found for (name, people), found in figures.items()}
    report(title, columns, table, {"draws": draws, "gains": gains}, options.json)


if __name__ == "__main__":
    main()
