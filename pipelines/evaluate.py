"""Stage ``evaluate``: every objective on people never trained on, next to the untrained network -> figures,
curves, pictures.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.pages.curves import write_curves, write_identification
from pipelines.pages.evaluation import PLOTS, Chosen, write_page
from pipelines.stage.console import run_stage, say, working
from pipelines.stage.decoded import embed
from pipelines.stage.fitted_metric import read_fitted
from pipelines.stage.places import CATALOG, EVALUATION, METRICS_NAME, MODELS, SELECTION
from pipelines.stage.run_log import log_outputs
from reid.config import UNTRAINED, Params, load_params
from reid.data.catalog import Catalog, read_catalog
from reid.errors import ReidError
from reid.evaluation import RankingReport
from reid.evaluation.page import PAGE_NAME, Figure, Section
from reid.evaluation.page import write_page as write_page_of
from reid.evaluation.pair_metric import load_pair_scorer
from reid.evaluation.report import (
    EmbeddedSet,
    Rescored,
    judge,
    judge_extra,
    nothing_to_find,
    one_camera_apart,
    rank,
    rescored_by,
)
from reid.evaluation.within_camera import WITHIN_CAMERA
from reid.files import write_json
from reid.model_files import PAIR_METRIC, RECORD, WEIGHTS
from reid.text_files import read_object

if TYPE_CHECKING:
    from reid.linear_metric import FittedMetric
    from reid.models.embedder import EmbeddingModel


def figures(report: RankingReport) -> dict[str, float]:
    """The headline of a ranking report."""
    values = {
        "mean_ap": report.mean_ap,
        "rank1": report.cmc[0],
        "rank5": report.cmc[min(4, len(report.cmc) - 1)],
        "mean_inp": report.mean_inp,
    }
    return {key: float(value) for key, value in values.items()}


def embed_sides(
    params: Params, parts: tuple[Catalog, Catalog], models: dict[str, "EmbeddingModel"]
) -> dict[str, tuple[EmbeddedSet, EmbeddedSet]]:
    """Query and gallery by each model."""
    found = embed(list(models.values()), parts, params.model.height, params.model.width)
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
    write_curves(None, EVALUATION)
    write_identification(None, EVALUATION)
    (EVALUATION / PLOTS).mkdir(parents=True, exist_ok=True)
    write_page_of(
        EVALUATION / PAGE_NAME,
        f"Evaluation of {chosen}",
        {"people to find": Figure(people, "")},
        [Section("What was measured", line)],
    )
    write_json(
        EVALUATION / METRICS_NAME,
        {"chosen": chosen, "objectives": {}, "left_out": line, "queries": {"valid": 0, "skipped": 0}},
    )


def judge_objectives(
    params: Params,
    chosen: str,
    models: "dict[str, EmbeddingModel]",
    sides: dict[str, tuple[EmbeddedSet, EmbeddedSet]],
    queries: Catalog,
    metrics: dict[str, Any],
) -> tuple[Chosen, dict[str, Rescored]]:
    """Judge each objective, the chosen one in full, and those with a learned metric by it too; their
    headlines go into ``metrics``. ``sides`` is emptied on the way; ``queries`` are the rows of
    each first side.
    """
    best: Chosen | None = None
    rescored: dict[str, Rescored] = {}
    for name in params.objectives:
        query, gallery = sides.pop(name)  # so that the embeddings of one model after the other are let go
        metric = MODELS / name / PAIR_METRIC
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
            best = Chosen(name, models[name], query, gallery, queries, judged, extra)
    assert best is not None
    return best, rescored


def summary(best: Chosen) -> dict[str, Any]:
    """What ``metrics.json`` says of the chosen model."""
    judged = best.judged
    found: dict[str, Any] = {}
    if judged.intervals:
        interval = judged.intervals["mean_ap"]
        found["chosen_mean_ap_interval"] = [interval.low, interval.high]
    found["queries"] = {"valid": judged.report.valid_queries, "skipped": judged.report.skipped_queries}
    found["within_camera"] = best.query.within_camera
    if judged.across is not None:
        found["other_cameras_only"] = figures(judged.across)
    return found | {"verification": judged.verification.summary()} | best.extra.summary()


def main() -> None:
    """Write ``reports/evaluation``."""
    from reid.models.embedder import EmbeddingModel, load_model

    params = load_params()
    catalog = read_catalog(CATALOG)
    chosen = read_object(SELECTION, "selection", chosen=str)["chosen"]
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
        name: load_model(MODELS / name / WEIGHTS)[0] for name in (UNTRAINED, *names)
    }
    parts = catalog.split("query"), catalog.split("gallery")
    sides = embed_sides(params, parts, models)
    if sides[UNTRAINED][0].within_camera:
        say(WITHIN_CAMERA)
    metrics: dict[str, Any] = {"chosen": chosen, "objectives": {}}
    with working("judging the untrained network"):
        metrics[UNTRAINED] = figures(rank(*sides.pop(UNTRAINED)))
    best, rescored = judge_objectives(params, chosen, models, sides, parts[0], metrics)
    metrics |= summary(best)
    if (fitted := read_fitted()) is not None:
        with_metric = figures(rank(*(metric_side(side, fitted[0]) for side in (best.query, best.gallery))))
        metrics["fitted_metric"] = {"method": fitted[1].method, **with_metric}
        say(
            f"{chosen} with {fitted[1].method}: rank-1 {with_metric['rank1']:.3f}, mAP "
            f"{with_metric['mean_ap']:.3f}"
        )
    write_curves(best.judged, EVALUATION)
    write_identification(best.extra, EVALUATION)
    write_page(params, metrics, best, rescored, MODELS, EVALUATION)
    write_json(EVALUATION / METRICS_NAME, metrics)
    run_id = read_object(MODELS / chosen / RECORD, "training record", mlflow_run_id=str)["mlflow_run_id"]
    log_outputs(
        params.tracking, run_id, "evaluation", (EVALUATION / PLOTS, EVALUATION / PAGE_NAME), "the pictures"
    )


if __name__ == "__main__":
    run_stage(main)
