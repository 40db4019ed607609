"""Stage ``evaluate``: every objective on people never trained on, next to the untrained network -> figures,
curves, pictures.
"""

import csv
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.console import progress_bar, run_stage, say, working
from pipelines.fitted import read_fitted
from pipelines.logged import log_outputs
from reid.config import UNTRAINED, Params, load_params
from reid.data.catalog import Catalog, read_catalog
from reid.data.store import image_blocks, load_images
from reid.errors import ReidError
from reid.evaluation import Fall, RankingReport
from reid.evaluation.page import Figure, Section, Table
from reid.evaluation.page import write_page as write_page_of
from reid.evaluation.pair_metric import load_pair_scorer
from reid.evaluation.plots import plot_activation_maps, plot_class_tree
from reid.evaluation.report import (
    EmbeddedSet,
    ExtraMetrics,
    Judgement,
    Rescored,
    draw_curves,
    draw_images,
    judge,
    judge_corrupted,
    judge_extra,
    nothing_to_find,
    one_camera_apart,
    rank,
    rescored_by,
    rescored_section,
    shift_section,
    write_evaluation,
)
from reid.evaluation.within_camera import WITHIN_CAMERA
from reid.files import atomic_path, write_json
from reid.metric.class_tree import ClassTree
from reid.reading import read_object

if TYPE_CHECKING:
    from reid.linear_metric import FittedMetric
    from reid.models.embedder import EmbeddingModel

OUT = Path("reports/evaluation")
MODELS = Path("models")
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
    write_curve(
        out / "cmc.csv",
        ("rank", "match_rate"),
        [(at, float(rate)) for at, rate in enumerate(judged.report.cmc, 1)],
    )
    roc = judged.verification.roc
    step = max(1, len(roc.far) // 500)
    points = zip(roc.far[::step], roc.tar[::step], strict=True)
    write_curve(
        out / "roc.csv",
        ("false_accept_rate", "true_accept_rate"),
        [(float(far), float(tar)) for far, tar in points],
    )


def objectives_section(metrics: dict[str, Any]) -> Section:
    """Every objective next to the untrained network, and the chosen one with the fitted metric."""
    row = metrics.get("fitted_metric")
    fitted = {} if row is None else {f"{metrics['chosen']} with {row['method']}": row}
    rows = [
        (name, *(f"{100 * row[key]:.1f} %" for key in ("rank1", "rank5", "mean_ap", "mean_inp")))
        for name, row in {UNTRAINED: metrics[UNTRAINED], **metrics["objectives"], **fitted}.items()
    ]
    text = (
        f"The same people, judged with each model; {metrics['chosen']} was chosen on validation "
        "people, not on these."
    )
    return Section("Objectives", text, table=Table(("objective", "rank-1", "rank-5", "mAP", "mINP"), rows))


def write_identification(extra: ExtraMetrics | None, path: Path) -> None:
    """Identification against false accepts, at most 200 points of each curve, as one table for ``dvc
    plots``.
    """
    rows: list[tuple[str, float, float]] = []
    for name, curve in extra.identification.items() if extra else ():
        step = max(1, len(curve.thresholds) // 200)
        points = zip(curve.false_accept_rate[::step], curve.identification_rate[::step], strict=True)
        rows += [(name, float(far), float(rate)) for far, rate in points]
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("probe_and_policy", "false_accept_rate", "identification_rate"), *rows]
        )


@dataclass(frozen=True, eq=False)
class Chosen:
    """The chosen model on the test people."""

    name: str
    model: "EmbeddingModel"
    query: EmbeddedSet
    gallery: EmbeddedSet
    judged: Judgement
    extra: ExtraMetrics


def first_shown(chosen: str, names: Iterable[str]) -> str | None:
    """Of the objectives that have something, the one to show: the chosen one, else the first."""
    return min(names, key=lambda name: name != chosen, default=None)


def write_page(
    params: Params, metrics: dict[str, Any], chosen: Chosen, rescored: Mapping[str, Rescored]
) -> None:
    """The page of the chosen model, and its pictures as plots of the stage."""
    query, gallery = chosen.query, chosen.gallery
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with working("drawing curves and pictures"):
            pictures = draw_curves(chosen.name, chosen.judged, chosen.extra, folder)
            pictures |= draw_images(
                query,
                gallery,
                chosen.judged,
                folder,
                queries=params.evaluate.ranked_queries,
                seed=params.seed,
            )
            pictures["activation"] = draw_activation(params, chosen, folder)
        more = [
            Section(
                "Where the network looks",
                "Queries, and where its last maps are strongest.",
                [pictures["activation"]],
            )
        ]
        if params.evaluate.shift_severity:
            falls = judge_shift(params, chosen)
            metrics["under_worse_pictures"] = {
                kind: {figure: {"value": one.shifted, "fall": one.fall} for figure, one in row.items()}
                for kind, row in falls.items()
            }
            more.append(shift_section(falls, params.evaluate.shift_severity))
        if (owner := first_shown(chosen.name, rescored)) is not None:
            metrics["learned_metric"] = rescored[owner].summary()
            more.append(rescored_section(owner, rescored[owner]))
        more.append(objectives_section(metrics))
        trees = [name for name in params.objectives if (MODELS / name / "tree.npz").exists()]
        if (owner := first_shown(chosen.name, trees)) is not None:
            tree = ClassTree.load(MODELS / owner / "tree.npz")
            words = plot_class_tree(tree.linkage, folder / "tree.png", thresholds=tree.thresholds)
            pictures["tree"] = folder / "tree.png", words
            more.append(
                Section(
                    "Class tree",
                    f"Training people by likeness in {owner}; dotted lines are the levels.",
                    [pictures["tree"]],
                )
            )
        people = len(set(query.identities.tolist()))
        summary = (
            f"Model: {chosen.name}, {params.model.backbone}. {len(query):,} queries of {people:,} "
            "people, none of them trained on, "
            f"in a gallery of {len(gallery):,} images; {chosen.judged.report.skipped_queries:,} "
            "queries without a match were skipped."
        )
        if query.within_camera:
            summary += f" {WITHIN_CAMERA[0].upper()}{WITHIN_CAMERA[1:]}. What needs two cameras is left out."
        title = f"Evaluation of {chosen.name}"
        write_evaluation(OUT / "evaluation.html", title, summary, chosen.judged, chosen.extra, pictures, more)
        for plot, (path, _) in pictures.items():
            with atomic_path(OUT / "plots" / f"{plot}.png", mode=0o600) as temporary:
                temporary.write_bytes(path.read_bytes())


def draw_activation(params: Params, chosen: Chosen, folder: Path) -> tuple[Path, str]:
    """Where the network looks on some queries: file and words."""
    from reid.models.inference import activation_maps

    shown = np.linspace(0, len(chosen.query) - 1, min(SHOWN_MAPS, len(chosen.query))).astype(int)
    images = load_images(
        [chosen.query.paths[row] for row in shown.tolist()], params.model.height, params.model.width
    )
    path = folder / "activation.png"
    return path, plot_activation_maps(list(images), list(activation_maps(chosen.model, images)), path)


def judge_shift(params: Params, chosen: Chosen) -> dict[str, dict[str, Fall]]:
    """How far the figures fall on corrupted queries. These are decoded again, block by block: that costs less
    than to hold them.
    """
    from reid.models.inference import embed_images

    with progress_bar("spoiling queries") as progress:
        return judge_corrupted(
            chosen.query,
            chosen.gallery,
            chosen.judged.report,
            image_blocks(chosen.query.paths, params.model.height, params.model.width, progress),
            lambda images: embed_images(chosen.model, images),
            severity=params.evaluate.shift_severity,
            seed=params.seed,
        )


def embed_sides(
    params: Params, parts: tuple[Catalog, Catalog], models: dict[str, "EmbeddingModel"]
) -> dict[str, tuple[EmbeddedSet, EmbeddedSet]]:
    """Query and gallery by each model; every image is decoded once, and a block of them held at a time."""
    from reid.models.inference import embed_blocks

    paths = [path for part in parts for path in part.paths]
    with progress_bar("embedding") as progress:
        blocks = image_blocks(paths, params.model.height, params.model.width, progress)
        found = embed_blocks(list(models.values()), blocks, len(paths))
    return {name: sides_of(parts, rows) for name, rows in zip(models, found, strict=True)}


def sides_of(
    parts: tuple[Catalog, Catalog], rows: npt.NDArray[np.float32]
) -> tuple[EmbeddedSet, EmbeddedSet]:
    """Embeddings (N, D) of query and gallery, one after the other, as the two sides; within cameras where no
    two see anybody.
    """
    query, gallery = parts
    return one_camera_apart(
        EmbeddedSet(rows[: len(query)], query.identities, query.cameras, query.paths, query.order),
        EmbeddedSet(rows[len(query) :], gallery.identities, gallery.cameras, gallery.paths, gallery.order),
    )


def metric_side(side: EmbeddedSet, metric: "FittedMetric") -> EmbeddedSet:
    """A side as the exported model will embed it, with the fitted metric."""
    return replace(side, embeddings=metric.apply(side.embeddings))


def write_nothing(chosen: str, people: int, line: str) -> None:
    """What the stage promises to write, where there is no figure: why, and tables without rows."""
    write_curve(OUT / "cmc.csv", ("rank", "match_rate"), [])
    write_curve(OUT / "roc.csv", ("false_accept_rate", "true_accept_rate"), [])
    write_identification(None, OUT / "open_set.csv")
    (OUT / "plots").mkdir(parents=True, exist_ok=True)
    write_page_of(
        OUT / "evaluation.html",
        f"Evaluation of {chosen}",
        {"people to find": Figure(people, "")},
        [Section("What was measured", line)],
    )
    write_json(
        OUT / "metrics.json",
        {"chosen": chosen, "objectives": {}, "left_out": line, "queries": {"valid": 0, "skipped": 0}},
    )


def main() -> None:
    """Write ``reports/evaluation``."""
    from reid.models.embedder import EmbeddingModel, load_model

    params = load_params()
    catalog = read_catalog("data/catalog.parquet")
    chosen = read_object("reports/selection.json", "selection", chosen=str)["chosen"]
    names = list(params.objectives)
    if chosen not in names:
        raise ReidError(
            f"the chosen objective is {chosen!r}, none of {', '.join(names)}: run the stage select again"
        )
    judged_on = catalog.split("query", "gallery")
    if (line := nothing_to_find(judged_on.identities)) is not None:
        write_nothing(chosen, len(set(judged_on.identities.tolist())), line)
        say(line)
        return
    models: dict[str, EmbeddingModel] = {
        name: load_model(MODELS / name / "model.safetensors")[0] for name in (UNTRAINED, *names)
    }
    sides = embed_sides(params, (catalog.split("query"), catalog.split("gallery")), models)
    if sides[UNTRAINED][0].within_camera:
        say(WITHIN_CAMERA)
    metrics: dict[str, Any] = {"chosen": chosen, "objectives": {}}
    with working("judging the untrained network"):
        metrics[UNTRAINED] = figures(rank(*sides.pop(UNTRAINED)))
    best, rescored = None, {}
    for name in names:
        query, gallery = sides.pop(name)  # so that the embeddings of one model after the other are let go
        metric = MODELS / name / "pair_metric.safetensors"
        judged = None
        with working(f"judging {name}"):
            if name == chosen or metric.exists():
                judged = judge(
                    query,
                    gallery,
                    bootstrap=params.evaluate.bootstrap if name == chosen else 0,
                    seed=params.seed,
                )
            report = rank(query, gallery) if judged is None else judged.report
            metrics["objectives"][name] = figures(report)
            say(
                f"{name}: rank-1 {report.cmc[0]:.3f}, mAP {report.mean_ap:.3f} on "
                f"{report.valid_queries} queries"
            )
        if judged is not None and metric.exists():
            with working(f"judging the learned metric of {name}"):
                rescored[name] = rescored_by(load_pair_scorer(metric), query, gallery, judged)
        if judged is not None and name == chosen:
            with working(f"judging {name}: other rankings, open set, clusters"):
                extra = judge_extra(query, gallery, judged, seed=params.seed)
            best = Chosen(name, models[name], query, gallery, judged, extra)
    assert best is not None
    if best.judged.intervals:
        metrics["chosen_mean_ap_interval"] = [
            best.judged.intervals["mean_ap"].low,
            best.judged.intervals["mean_ap"].high,
        ]
    if (fitted := read_fitted()) is not None:
        with_metric = figures(rank(*(metric_side(side, fitted[0]) for side in (best.query, best.gallery))))
        metrics["fitted_metric"] = {"method": fitted[1].method, **with_metric}
        say(
            f"{chosen} with {fitted[1].method}: rank-1 {with_metric['rank1']:.3f}, mAP "
            f"{with_metric['mean_ap']:.3f}"
        )
    metrics["queries"] = {
        "valid": best.judged.report.valid_queries,
        "skipped": best.judged.report.skipped_queries,
    }
    metrics["within_camera"] = best.query.within_camera
    if best.judged.across is not None:
        metrics["other_cameras_only"] = figures(best.judged.across)
    metrics["verification"] = best.judged.verification.summary()
    metrics |= best.extra.summary()
    write_curves(best.judged, OUT)
    write_identification(best.extra, OUT / "open_set.csv")
    write_page(params, metrics, best, rescored)
    write_json(OUT / "metrics.json", metrics)
    run_id = read_object(MODELS / chosen / "training.json", "training record", mlflow_run_id=str)[
        "mlflow_run_id"
    ]
    log_outputs(
        params.tracking, run_id, "evaluation", (OUT / "plots", OUT / "evaluation.html"), "the pictures"
    )


if __name__ == "__main__":
    run_stage(main)
