"""Stage ``evaluate``: every objective on people never trained on, next to the untrained network -> figures, curves, pictures."""

import csv
import tempfile
from pathlib import Path
from typing import Any

from pipelines.console import progress_bar, run_stage, say
from pipelines.evaluation_page import draw_curves, draw_images, write_evaluation
from pipelines.judging import Judgement, Side, judge, rank
from reid.class_tree import ClassTree
from reid.config import OBJECTIVES, Params, load_params
from reid.data.catalog import read_catalog
from reid.data.store import load_images
from reid.evaluation import RankingReport
from reid.evaluation.page import Section, Table
from reid.evaluation.plots import plot_class_tree
from reid.files import atomic_path, read_json, write_json

OUT = Path("reports/evaluation")
TREE = Path("models/hierarchical/tree.npz")


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


def write_curves(judged: Judgement, out: Path) -> None:
    """CMC and at most 500 points of the ROC, as ``dvc plots diff`` reads them."""
    write_curve(out / "cmc.csv", ("rank", "match_rate"), [(at, float(rate)) for at, rate in enumerate(judged.report.cmc, 1)])
    roc = judged.verification.roc
    step = max(1, len(roc.far) // 500)
    points = zip(roc.far[::step], roc.tar[::step], strict=True)
    write_curve(out / "roc.csv", ("false_accept_rate", "true_accept_rate"), [(float(far), float(tar)) for far, tar in points])


def objectives_section(metrics: dict[str, Any]) -> Section:
    """Every objective next to the untrained network."""
    rows = [
        (name, *(f"{100 * row[key]:.1f} %" for key in ("rank1", "rank5", "mean_ap", "mean_inp")))
        for name, row in {"untrained": metrics["untrained"], **metrics["objectives"]}.items()
    ]
    text = f"The same people, judged with each model; {metrics['chosen']} was chosen on validation people, not on these."
    return Section("Objectives", text, table=Table(("objective", "rank-1", "rank-5", "mAP", "mINP"), rows))


def write_page(params: Params, metrics: dict[str, Any], query: Side, gallery: Side, judged: Judgement) -> None:
    """Pictures of the chosen model, and the page; those that are no plots of the stage are in the page alone."""
    plots = ("cmc", "roc", "distances", "ranked_lists")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = draw_curves(metrics["chosen"], judged, folder)
        pictures |= draw_images(query, gallery, judged, folder, queries=params.evaluate.ranked_queries, seed=params.seed)
        more = [objectives_section(metrics)]
        if TREE.exists():
            tree = ClassTree.load(TREE)
            words = plot_class_tree(tree.linkage, folder / "tree.png", thresholds=tree.thresholds)
            more.append(Section("Class tree", "Training people by likeness; dotted lines are the levels.", [(folder / "tree.png", words)]))
        people = len(set(query.identities.tolist()))
        summary = (
            f"Model: {metrics['chosen']}, {params.model.backbone}. {len(query):,} queries of {people:,} people, none of them trained on, "
            f"in a gallery of {len(gallery):,} images; {judged.report.skipped_queries:,} queries without a match were skipped."
        )
        write_evaluation(OUT / "evaluation.html", f"Evaluation of {metrics['chosen']}", summary, judged, pictures, more)
        for plot in plots:
            with atomic_path(OUT / f"{plot}.png") as temporary:
                temporary.write_bytes(pictures[plot][0].read_bytes())


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

    def embed(model: EmbeddingModel) -> tuple[Side, Side]:
        embeddings = embed_images(model, images)
        split = len(parts[0])
        first, second = (
            Side(rows, part.identities, part.cameras, part.paths)
            for part, rows in zip(parts, (embeddings[:split], embeddings[split:]), strict=True)
        )
        return first, second

    metrics: dict[str, Any] = {"chosen": chosen, "objectives": {}}
    metrics["untrained"] = figures(rank(*embed(build_model(model_spec(params)))))
    for name in OBJECTIVES:
        model, _ = load_model(Path("models") / name / "model.safetensors")
        query, gallery = embed(model)
        report = rank(query, gallery)
        metrics["objectives"][name] = figures(report)
        say(f"{name}: rank-1 {report.cmc[0]:.3f}, mAP {report.mean_ap:.3f} on {report.valid_queries} queries")
        if name == chosen:
            best = query, gallery
    judged = judge(*best, bootstrap=params.evaluate.bootstrap, seed=params.seed)
    if judged.intervals:
        metrics["chosen_mean_ap_interval"] = [judged.intervals["mean_ap"].low, judged.intervals["mean_ap"].high]
    metrics["queries"] = {"valid": judged.report.valid_queries, "skipped": judged.report.skipped_queries}
    metrics["other_cameras_only"] = figures(judged.across)
    metrics["verification"] = judged.verification.summary()
    write_curves(judged, OUT)
    write_page(params, metrics, *best, judged)
    write_json(OUT / "metrics.json", metrics)


if __name__ == "__main__":
    run_stage(main)
