"""The folder that ``reid evaluate --out`` writes, and the comparison of two. Torch-free."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.model.evaluation import Evaluation
from pipelines.stage.places import METRICS_NAME
from reid.data.catalog import readable
from reid.errors import ReidError, UsageError
from reid.evaluation import Fall, PairedDifference, RankingReport, paired_bootstrap
from reid.evaluation.page import PAGE_NAME
from reid.evaluation.report import draw_curves, draw_images, write_evaluation
from reid.evaluation.within_camera import WITHIN_CAMERA
from reid.files import atomic_directory, read_json, write_json
from reid.parquet import read_parquet

__all__ = ["compare_results", "fall_of_results", "write_results"]

_QUERIES = "queries.parquet"
COMPARED = ("mean_ap", "rank1", "rank5", "mean_inp")


def write_results(result: Evaluation, out: Path, *, seed: int, queries: int = 8) -> None:
    """Write ``metrics.json``, ``queries.parquet`` (a row for each query) and ``evaluation.html`` into
    ``out``, whole or not at all.

    Raises:
        UsageError: ``out`` holds something else than an earlier evaluation.
    """
    if out.exists() and not (
        out.is_dir() and {path.name for path in out.iterdir()} <= {METRICS_NAME, _QUERIES, PAGE_NAME}
    ):
        raise UsageError(f"--out {out} holds other things than an evaluation: name a new or empty folder")
    summary = (
        f"Model {result.card.name} ({result.card.fingerprint}). {len(result.query):,} queries in a "
        f"gallery of {len(result.gallery):,} "
        f"images, ranked by {result.judged.report.metric}; {result.judged.report.skipped_queries:,} "
        "queries without a match were skipped."
    )
    if result.query.within_camera:
        summary += f" {WITHIN_CAMERA[0].upper()}{WITHIN_CAMERA[1:]}."
    with atomic_directory(out, private=True) as folder, tempfile.TemporaryDirectory() as drawings:
        place = Path(drawings)
        pictures = draw_curves(result.card.name, result.judged, result.extra, place)
        pictures |= draw_images(
            result.query, result.gallery, result.judged, place, queries=queries, seed=seed
        )
        write_json(folder / METRICS_NAME, result.metrics())
        pq.write_table(_query_table(result), folder / _QUERIES)
        write_evaluation(
            folder / PAGE_NAME,
            f"Evaluation of {result.card.name}",
            summary,
            result.judged,
            result.extra,
            pictures,
        )


def _query_table(result: Evaluation) -> pa.Table:
    report, query = result.judged.report, result.query
    columns: dict[str, list[Any]] = {
        name: [None] * len(query) for name in ("average_precision", "inverse_negative_penalty", "first_rank")
    }
    values = zip(
        report.query_index.tolist(),
        report.per_query_ap.tolist(),
        report.per_query_inp.tolist(),
        report.first_rank.tolist(),
        strict=True,
    )
    for row, precision, penalty, first in values:
        columns["average_precision"][row] = precision
        columns["inverse_negative_penalty"][row] = penalty
        columns["first_rank"][row] = first
    schema = pa.schema(
        [(name, pa.string()) for name in ("path", "identity", "camera")]
        + [(name, pa.float64()) for name in ("average_precision", "inverse_negative_penalty")]
        + [("first_rank", pa.int64())]
    )
    names = {
        "path": [readable(path) for path in query.paths],
        "identity": query.identities.tolist(),
        "camera": query.cameras.tolist(),
    }
    return pa.table({**names, **columns}, schema=schema)


def compare_results(first: Path, second: Path, *, samples: int, seed: int) -> dict[str, PairedDifference]:
    """Paired bootstrap of each figure between two folders of ``write_results``.

    Raises:
        UsageError: a folder is not there.
        ReidError: they are not evaluations, or not of the same query and gallery.
    """
    data = [_read_metrics(folder)["data"] for folder in (first, second)]
    for side in ("query", "gallery"):
        if data[0].get(side) != data[1].get(side):
            raise ReidError(
                f"{first} and {second} judge different {side} images: evaluate both on the same ones, "
                "or ask for --shift"
            )
    (ours, people), (theirs, _) = (_read_queries(folder / _QUERIES) for folder in (first, second))
    return {
        figure: paired_bootstrap(ours, theirs, people, figure=figure, samples=samples, seed=seed)
        for figure in COMPARED
    }


def fall_of_results(home: Path, away: Path) -> dict[str, Fall]:
    """How far each figure of one model falls from the data of ``home`` to those of ``away``; no pairing, as
    the queries differ.

    Raises:
        UsageError: a folder is not there.
        ReidError: they are not evaluations, or not of one model.
    """
    ours, theirs = _read_metrics(home), _read_metrics(away)
    models = [one["model"]["fingerprint"] for one in (ours, theirs)]
    if models[0] != models[1]:
        raise ReidError(
            f"{home} judges model {models[0]} and {away} model {models[1]}: a shift is of one model on "
            "two sets of images"
        )
    return {figure: Fall(ours["ranking"][figure], theirs["ranking"][figure]) for figure in COMPARED}


def _read_metrics(folder: Path) -> dict[str, Any]:
    metrics = read_json(folder / METRICS_NAME, "evaluation")
    value = metrics if isinstance(metrics, dict) else {}
    parts = [one if isinstance(one := value.get(key), dict) else {} for key in ("data", "model", "ranking")]
    if not (
        all(parts)
        and isinstance(parts[1].get("fingerprint"), str)
        and all(isinstance(parts[2].get(figure), int | float) for figure in COMPARED)
    ):
        raise ReidError(
            f"evaluation {folder / METRICS_NAME} does not say what it judged: write it with reid "
            "evaluate --out"
        )
    return metrics


def _read_queries(path: Path) -> tuple[RankingReport, npt.NDArray[np.str_]]:
    """What the paired bootstrap wants: figures of the valid queries, and the identity of every query."""
    figures = {name: pa.float64() for name in ("average_precision", "inverse_negative_penalty")}
    schema = pa.schema({"identity": pa.string(), **figures, "first_rank": pa.int64()})
    way_out, broken = "write it with reid evaluate --out", "cannot be read"
    table = read_parquet(
        path,
        "table of queries",
        way_out,
        broken=broken,
        schema=schema,
        filled=("identity",),
        finite=tuple(figures),
    )
    columns = {name: table[name].to_pylist() for name in schema.names}
    valid = np.asarray(
        [row for row, first in enumerate(columns["first_rank"]) if first is not None], np.int64
    )
    if not len(valid):
        raise ReidError(f"table of queries {path} has no valid query: write it with reid evaluate --out")
    if any(columns[name][row] is None for name in figures for row in valid):
        raise ReidError(f"table of queries {path} has a query without its figures: {way_out}")
    precision, penalty = (np.asarray([columns[name][row] for row in valid], np.float64) for name in figures)
    first_rank = np.asarray([columns["first_rank"][row] for row in valid], np.int64)
    cmc = np.asarray([np.mean(first_rank <= rank) for rank in range(1, 51)])
    report = RankingReport(
        cmc=cmc,
        mean_ap=float(precision.mean()),
        mean_inp=float(penalty.mean()),
        valid_queries=len(valid),
        skipped_queries=table.num_rows - len(valid),
        query_index=valid,
        per_query_ap=precision,
        per_query_inp=penalty,
        first_rank=first_rank,
        gallery_images=0,
        junk_images=0,
        metric="",
        ap="rectangle",
    )
    return report, np.asarray(columns["identity"], dtype=np.str_)
