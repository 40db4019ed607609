"""Stage ``evaluate``: every objective on people never trained on, next to the untrained network -> figures, curves, pictures."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.console import progress_bar, run_stage, say
from reid.config import OBJECTIVES, Params, load_params
from reid.data.catalog import Catalog, read_catalog
from reid.data.store import load_images
from reid.evaluation import RankingReport, bootstrap_interval, rank_gallery, verify
from reid.files import atomic_path, read_json, write_json

OUT = Path("reports/evaluation")
Embeddings = npt.NDArray[np.float32]


def ranking(embeddings: Embeddings, catalog: Catalog) -> RankingReport:
    """Query against gallery, both parts of one embedded catalog."""
    query, gallery = (np.isin(catalog.column("split"), name) for name in ("query", "gallery"))
    ids, cameras = catalog.identities, catalog.cameras
    return rank_gallery(embeddings[query], ids[query], cameras[query], embeddings[gallery], ids[gallery], cameras[gallery])


def figures(report: RankingReport) -> dict[str, float]:
    """The headline of a ranking report."""
    values = {
        "mean_ap": report.mean_ap,
        "rank1": report.cmc[0],
        "rank5": report.cmc[min(4, len(report.cmc) - 1)],
        "mean_inp": report.mean_inp,
    }
    return {key: float(value) for key, value in values.items()}


def pair_distances(embeddings: Embeddings, catalog: Catalog, limit: int = 2000) -> tuple[Embeddings, npt.NDArray[np.bool_]]:
    """Distances of all cross-camera pairs of at most ``limit`` images, and which pairs show one person."""
    keep = np.linspace(0, len(catalog) - 1, min(limit, len(catalog))).astype(int)
    kept, ids, cameras = embeddings[keep], catalog.identities[keep], catalog.cameras[keep]
    first, second = np.triu_indices(len(keep), 1)
    across = cameras[first] != cameras[second]
    first, second = first[across], second[across]
    similarity = (kept @ kept.T)[first, second]
    return np.sqrt(np.maximum(2 - 2 * similarity, 0)).astype(np.float32), ids[first] == ids[second]


def write_curve(path: Path, header: tuple[str, str], points: list[tuple[float, float]]) -> None:
    """A two-column CSV for ``dvc plots``."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *points])


def pictures(params: Params, catalog: Catalog, embeddings: Embeddings, report: RankingReport, out: Path) -> dict[str, Any]:
    """Curves and pictures of the chosen model; returns its verification figures."""
    from reid.evaluation import plots

    distances, same = pair_distances(embeddings, catalog)
    verification = verify(distances, same)
    plots.plot_cmc({"chosen": report.cmc}, out / "cmc.png")
    plots.plot_distance_histogram(distances, same, out / "distances.png", threshold=verification.threshold)
    write_curve(out / "cmc.csv", ("rank", "match_rate"), [(rank, float(rate)) for rank, rate in enumerate(report.cmc, 1)])
    step = max(1, len(verification.roc.far) // 500)
    points = zip(verification.roc.far[::step], verification.roc.tar[::step], strict=True)
    write_curve(out / "roc.csv", ("false_accept_rate", "true_accept_rate"), [(float(far), float(tar)) for far, tar in points])
    query, gallery = (np.flatnonzero(catalog.column("split") == name) for name in ("query", "gallery"))
    chosen = query[np.linspace(0, len(query) - 1, min(params.evaluate.ranked_queries, len(query))).astype(int)]
    paths, ids, cameras = catalog.paths, catalog.identities, catalog.cameras
    rows = []
    for index in chosen:
        asked = np.argsort(-(embeddings[gallery] @ embeddings[index]), kind="stable")
        ranked = gallery[asked]
        ranked = ranked[(ids[ranked] != ids[index]) | (cameras[ranked] != cameras[index])][:8]
        rows.append((paths[index], [(paths[other], bool(ids[other] == ids[index])) for other in ranked]))
    plots.plot_ranked_lists(rows, out / "ranked_lists.png")
    return verification.summary()


def main() -> None:
    """Write ``reports/evaluation``."""
    from reid.models.embedder import build_model, load_model
    from reid.models.inference import embed_images
    from reid.training.trial import model_spec

    params = load_params()
    catalog = read_catalog("data/catalog.parquet").split("query", "gallery")
    chosen = read_json("reports/selection.json", "selection")["chosen"]
    with progress_bar("decoding images") as progress:
        images = load_images(catalog.paths, params.model.height, params.model.width, progress=progress)
    metrics: dict[str, Any] = {"chosen": chosen, "objectives": {}}
    baseline = embed_images(build_model(model_spec(params)), images)
    metrics["untrained"] = figures(ranking(baseline, catalog))
    for name in OBJECTIVES:
        model, _ = load_model(Path("models") / name / "model.safetensors")
        embeddings = embed_images(model, images)
        report = ranking(embeddings, catalog)
        metrics["objectives"][name] = figures(report)
        say(f"{name}: rank-1 {report.cmc[0]:.3f}, mAP {report.mean_ap:.3f} on {report.valid_queries} queries")
        if name == chosen:
            if params.evaluate.bootstrap:
                asked = catalog.split("query").identities
                interval = bootstrap_interval(report, asked, samples=params.evaluate.bootstrap, seed=params.seed)
                metrics["chosen_mean_ap_interval"] = [interval.low, interval.high]
            metrics["queries"] = {"valid": report.valid_queries, "skipped": report.skipped_queries}
            metrics["verification"] = pictures(params, catalog, embeddings, report, OUT)
    write_json(OUT / "metrics.json", metrics)


if __name__ == "__main__":
    run_stage(main)
