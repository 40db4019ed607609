"""Stage ``evaluate``: every objective on people never trained on, next to the untrained network -> figures, curves, pictures."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.console import progress_bar, run_stage, say
from reid.config import OBJECTIVES, Params, load_params
from reid.data.catalog import Catalog, read_catalog
from reid.data.store import load_images
from reid.evaluation import (
    RankingReport,
    bootstrap_interval,
    distances_between,
    draw_pairs,
    pair_distances,
    rank_gallery,
    verify,
)
from reid.evaluation.examples import ranked_lists
from reid.evaluation.image_plots import plot_ranked_lists
from reid.evaluation.plots import plot_cmc, plot_distance_histogram, plot_roc
from reid.files import atomic_path, read_json, write_json

OUT = Path("reports/evaluation")


@dataclass(frozen=True, eq=False)
class Embedded:
    """A part of the catalog with the embeddings (N, D) of its images."""

    catalog: Catalog
    embeddings: npt.NDArray[np.float32]


def rank(query: Embedded, gallery: Embedded) -> RankingReport:
    """Query against gallery by the Market-1501 protocol."""
    parts = ((part.embeddings, part.catalog.identities, part.catalog.cameras) for part in (query, gallery))
    return rank_gallery(*next(parts), *next(parts))


def figures(report: RankingReport) -> dict[str, float]:
    """The headline of a ranking report."""
    values = {
        "mean_ap": report.mean_ap,
        "rank1": report.cmc[0],
        "rank5": report.cmc[min(4, len(report.cmc) - 1)],
        "mean_inp": report.mean_inp,
    }
    return {key: float(value) for key, value in values.items()}


def write_curve(path: Path, header: tuple[str, str], points: list[tuple[float, float]]) -> None:
    """A two-column CSV for ``dvc plots``."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *points])


def pictures(params: Params, query: Embedded, gallery: Embedded, report: RankingReport, out: Path) -> dict[str, float | int]:
    """Curves and pictures of the chosen model; returns its verification figures."""
    labels = (query.catalog.identities, query.catalog.cameras, gallery.catalog.identities, gallery.catalog.cameras)
    pairs, same = draw_pairs(*labels, seed=params.seed)
    distances = pair_distances(query.embeddings, gallery.embeddings, pairs)
    verification = verify(distances, same)
    plot_cmc({"chosen": report.cmc}, out / "cmc.png")
    plot_roc({"chosen": verification}, out / "roc.png")
    plot_distance_histogram(distances, same, out / "distances.png", threshold=verification.threshold)
    write_curve(out / "cmc.csv", ("rank", "match_rate"), [(rank, float(rate)) for rank, rate in enumerate(report.cmc, 1)])
    step = max(1, len(verification.roc.far) // 500)
    points = zip(verification.roc.far[::step], verification.roc.tar[::step], strict=True)
    write_curve(out / "roc.csv", ("false_accept_rate", "true_accept_rate"), [(float(far), float(tar)) for far, tar in points])
    rows = np.linspace(0, len(query.catalog) - 1, min(params.evaluate.ranked_queries, len(query.catalog))).astype(int)
    lists = ranked_lists(distances_between(query.embeddings, gallery.embeddings), rows, *labels, k=8)
    plot_ranked_lists([ranked.shown(query.catalog.paths, gallery.catalog.paths) for ranked in lists], out / "ranked_lists.png")
    return verification.summary()


def main() -> None:
    """Write ``reports/evaluation``."""
    from reid.models.embedder import EmbeddingModel, build_model, load_model
    from reid.models.inference import embed_images
    from reid.training.trial import model_spec

    params = load_params()
    catalog = read_catalog("data/catalog.parquet")
    parts = [catalog.split(name) for name in ("query", "gallery")]
    chosen = read_json("reports/selection.json", "selection")["chosen"]
    with progress_bar("decoding images") as progress:
        paths = [path for part in parts for path in part.paths]
        images = load_images(paths, params.model.height, params.model.width, progress=progress)

    def embed(model: EmbeddingModel) -> tuple[Embedded, Embedded]:
        embeddings = embed_images(model, images)
        split = len(parts[0])
        return Embedded(parts[0], embeddings[:split]), Embedded(parts[1], embeddings[split:])

    metrics: dict[str, Any] = {"chosen": chosen, "objectives": {}}
    metrics["untrained"] = figures(rank(*embed(build_model(model_spec(params)))))
    for name in OBJECTIVES:
        model, _ = load_model(Path("models") / name / "model.safetensors")
        query, gallery = embed(model)
        report = rank(query, gallery)
        metrics["objectives"][name] = figures(report)
        say(f"{name}: rank-1 {report.cmc[0]:.3f}, mAP {report.mean_ap:.3f} on {report.valid_queries} queries")
        if name == chosen:
            if params.evaluate.bootstrap:
                interval = bootstrap_interval(report, query.catalog.identities, samples=params.evaluate.bootstrap, seed=params.seed)
                metrics["chosen_mean_ap_interval"] = [interval.low, interval.high]
            metrics["queries"] = {"valid": report.valid_queries, "skipped": report.skipped_queries}
            metrics["verification"] = pictures(params, query, gallery, report, OUT)
    write_json(OUT / "metrics.json", metrics)


if __name__ == "__main__":
    run_stage(main)
