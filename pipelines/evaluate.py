"""Stage ``evaluate``: every objective on people never trained on, next to the untrained network -> figures, curves, pictures."""

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.console import progress_bar, run_stage, say
from pipelines.evaluation_page import draw_curves, draw_images, rescored_section, shift_section, write_evaluation
from pipelines.judging import Judgement, Side, judge, rank
from pipelines.judging_more import More, Rescored, judge_more, rescored_by, spoilt
from pipelines.logged import log_outputs
from reid.class_tree import ClassTree
from reid.config import OBJECTIVES, Params, load_params
from reid.data.catalog import read_catalog
from reid.data.store import load_images
from reid.errors import ReidError
from reid.evaluation import RankingReport
from reid.evaluation.page import Section, Table
from reid.evaluation.pair_metric import load_pair_scorer
from reid.evaluation.plots import plot_activation_maps, plot_class_tree
from reid.files import atomic_path, read_json, write_json

if TYPE_CHECKING:
    from reid.models.embedder import EmbeddingModel

OUT = Path("reports/evaluation")
TREE = Path("models/hierarchical/tree.npz")
SHOWN_MAPS = 6


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


def write_identification(extra: More, path: Path) -> None:
    """Identification against false accepts, at most 200 points of each curve, as one table for ``dvc plots``."""
    rows: list[tuple[str, float, float]] = []
    for name, curve in extra.identification.items():
        step = max(1, len(curve.thresholds) // 200)
        points = zip(curve.false_accept_rate[::step], curve.identification_rate[::step], strict=True)
        rows += [(name, float(far), float(rate)) for far, rate in points]
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        csv.writer(stream).writerows([("probe_and_policy", "false_accept_rate", "identification_rate"), *rows])


@dataclass(frozen=True, eq=False)
class Chosen:
    """The chosen model on the test people."""

    name: str
    model: "EmbeddingModel"
    query: Side
    gallery: Side
    images: npt.NDArray[np.uint8]  # of the queries
    judged: Judgement
    extra: More


def write_page(params: Params, metrics: dict[str, Any], chosen: Chosen, quadruplet: Rescored | None) -> None:
    """The page of the chosen model, and its pictures as plots of the stage."""
    from reid.models.inference import activation_maps, embed_images

    query, gallery = chosen.query, chosen.gallery
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = draw_curves(chosen.name, chosen.judged, chosen.extra, folder)
        pictures |= draw_images(query, gallery, chosen.judged, folder, queries=params.evaluate.ranked_queries, seed=params.seed)
        shown = np.linspace(0, len(query) - 1, min(SHOWN_MAPS, len(query))).astype(int)
        words = plot_activation_maps(
            list(chosen.images[shown]), list(activation_maps(chosen.model, chosen.images[shown])), folder / "activation.png"
        )
        pictures["activation"] = folder / "activation.png", words
        more = [Section("Where the network looks", "Queries, and where its last maps are strongest.", [pictures["activation"]])]
        if params.evaluate.shift_severity:
            severity = params.evaluate.shift_severity
            falls = spoilt(
                query,
                gallery,
                chosen.judged.report,
                chosen.images,
                lambda rows: embed_images(chosen.model, rows),
                severity=severity,
                seed=params.seed,
            )
            metrics["under_worse_pictures"] = {
                kind: {figure: {"value": one.shifted, "fall": one.fall} for figure, one in row.items()} for kind, row in falls.items()
            }
            more.append(shift_section(falls, severity))
        if quadruplet is not None:
            metrics["learned_metric"] = quadruplet.summary()
            more.append(rescored_section(quadruplet))
        more.append(objectives_section(metrics))
        if TREE.exists():
            tree = ClassTree.load(TREE)
            words = plot_class_tree(tree.linkage, folder / "tree.png", thresholds=tree.thresholds)
            pictures["tree"] = folder / "tree.png", words
            more.append(Section("Class tree", "Training people by likeness; dotted lines are the levels.", [pictures["tree"]]))
        people = len(set(query.identities.tolist()))
        summary = (
            f"Model: {chosen.name}, {params.model.backbone}. {len(query):,} queries of {people:,} people, none of them trained on, "
            f"in a gallery of {len(gallery):,} images; {chosen.judged.report.skipped_queries:,} queries without a match were skipped."
        )
        title = f"Evaluation of {chosen.name}"
        write_evaluation(OUT / "evaluation.html", title, summary, chosen.judged, chosen.extra, pictures, more)
        for plot, (path, _) in pictures.items():
            with atomic_path(OUT / "plots" / f"{plot}.png", mode=0o600) as temporary:
                temporary.write_bytes(path.read_bytes())


def main() -> None:
    """Write ``reports/evaluation``."""
    from reid.models.embedder import EmbeddingModel, ModelSpec, build_model, load_model
    from reid.models.inference import embed_images

    params = load_params()
    catalog = read_catalog("data/catalog.parquet")
    parts = [catalog.split(name) for name in ("query", "gallery")]
    chosen = read_json("reports/selection.json", "selection")["chosen"]
    with progress_bar("decoding images") as progress:
        paths = [path for part in parts for path in part.paths]
        images = load_images(paths, params.model.height, params.model.width, progress=progress)
    split = len(parts[0])

    def embed(model: EmbeddingModel) -> tuple[Side, Side]:
        embeddings = embed_images(model, images)
        first, second = (
            Side(rows, part.identities, part.cameras, part.paths)
            for part, rows in zip(parts, (embeddings[:split], embeddings[split:]), strict=True)
        )
        return first, second

    metrics: dict[str, Any] = {"chosen": chosen, "objectives": {}}
    metrics["untrained"] = figures(rank(*embed(build_model(ModelSpec(**params.model.model_dump())))))
    best, quadruplet = None, None
    for name in OBJECTIVES:
        folder = Path("models") / name
        model, _ = load_model(folder / "model.safetensors")
        query, gallery = embed(model)
        metric = folder / "pair_metric.safetensors"
        judged = None
        if name == chosen or metric.exists():
            judged = judge(query, gallery, bootstrap=params.evaluate.bootstrap if name == chosen else 0, seed=params.seed)
        report = rank(query, gallery) if judged is None else judged.report
        metrics["objectives"][name] = figures(report)
        say(f"{name}: rank-1 {report.cmc[0]:.3f}, mAP {report.mean_ap:.3f} on {report.valid_queries} queries")
        if judged is not None and metric.exists():
            quadruplet = rescored_by(load_pair_scorer(metric), query, gallery, judged)
        if judged is not None and name == chosen:
            extra = judge_more(query, gallery, judged, seed=params.seed)
            best = Chosen(name, model, query, gallery, images[:split], judged, extra)
    if best is None:
        raise ReidError(f"the chosen objective is {chosen!r}, none of {', '.join(OBJECTIVES)}: run the stage select again")
    if best.judged.intervals:
        metrics["chosen_mean_ap_interval"] = [best.judged.intervals["mean_ap"].low, best.judged.intervals["mean_ap"].high]
    metrics["queries"] = {"valid": best.judged.report.valid_queries, "skipped": best.judged.report.skipped_queries}
    metrics["other_cameras_only"] = figures(best.judged.across)
    metrics["verification"] = best.judged.verification.summary()
    metrics |= best.extra.summary()
    write_curves(best.judged, OUT)
    write_identification(best.extra, OUT / "open_set.csv")
    write_page(params, metrics, best, quadruplet)
    write_json(OUT / "metrics.json", metrics)
    run_id = read_json(Path("models") / chosen / "training.json", "training record")["mlflow_run_id"]
    log_outputs(params.tracking, run_id, "evaluation", (OUT / "plots", OUT / "evaluation.html"), "the pictures")


if __name__ == "__main__":
    run_stage(main)
