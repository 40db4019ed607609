"""The commands ``reid evaluate`` and ``reid compare``. Heavy imports are inside them, so that ``--help`` is
fast.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli import AsJson, Backend, Model, Threads

if TYPE_CHECKING:
    from pipelines.model.evaluation import Evaluation
    from reid.evaluation import Fall, PairedDifference

__all__ = ["KnownPeople", "Pattern", "Seed", "compare", "evaluate"]

Bootstrap = Annotated[
    int, typer.Option(min=1, max=1_000_000, help="Draws of people for the confidence intervals.")
]
Pattern = Annotated[
    str | None, typer.Option(help="Regular expression with the groups identity and camera, for --root.")
]
KnownPeople = Annotated[
    Path | None, typer.Option("--root", help="Folder of pictures of known people, searched recursively.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the draws.")]


def evaluate(
    model: Model,
    root: Annotated[Path | None, typer.Option(help="Folder of images, searched recursively.")] = None,
    pattern: Pattern = None,
    catalog: Annotated[
        Path | None,
        typer.Option(help="Catalog (.parquet) with the splits query and gallery, instead of --root."),
    ] = None,
    query_cameras: Annotated[
        str | None, typer.Option(help="Cameras whose images are queries, e.g. 1 or 1,3.")
    ] = None,
    gallery_cameras: Annotated[
        str | None, typer.Option(help="Cameras whose images are the gallery, e.g. 2 or 2,3.")
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Rank by k-reciprocal re-ranking; verification stays as it is.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for metrics.json, queries.parquet and evaluation.html.")
    ] = None,
    bootstrap: Bootstrap = 1000,
    seed: Seed = 0,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """How good is a model on these images? For any folder or catalog, by the Market-1501 protocol."""
    from pipelines.model.evaluation import NothingToFindError, choose_images, run_evaluation
    from pipelines.model.evaluation_files import write_results
    from reid.evaluation.page import PAGE_NAME

    try:
        images = choose_images(root, pattern, catalog, _names(query_cameras), _names(gallery_cameras))
    except NothingToFindError as nothing:
        typer.echo(json.dumps({"left_out": str(nothing)}) if as_json else str(nothing))
        return
    result = run_evaluation(
        model, images, rerank=rerank, bootstrap=bootstrap, seed=seed, backend=backend, threads=threads
    )
    for path, reason in result.unreadable:
        typer.echo(f"left out: {path}: {reason}", err=True)
    if out is not None:
        write_results(result, out, seed=seed)
    if as_json:
        typer.echo(json.dumps(result.metrics(), ensure_ascii=False))
        return
    _print_evaluation(result)
    if out is not None:
        typer.echo(f"page: {out / PAGE_NAME}")


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder that reid evaluate --out wrote.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another, of the same query and gallery.")],
    bootstrap: Bootstrap = 1000,
    seed: Seed = 0,
    shift: Annotated[
        bool,
        typer.Option("--shift", help="One model on two sets of images: how far does it fall from A to B?"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Is B really better than A? Paired bootstrap over the people of the queries."""
    from pipelines.model.evaluation_files import compare_results, fall_of_results

    if shift:
        _print_falls(fall_of_results(first, second), as_json)
        return
    differences = compare_results(first, second, samples=bootstrap, seed=seed)
    if as_json:
        from dataclasses import asdict

        typer.echo(
            json.dumps(
                {
                    figure: asdict(one) | {"significant": one.is_significant}
                    for figure, one in differences.items()
                }
            )
        )
        return
    typer.echo(
        f"B ({second}) less A ({first}), 95 % intervals over {next(iter(differences.values())).people} people"
    )
    for figure, one in differences.items():
        interval = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
        typer.echo(f"{_NAMES[figure]:>7}  {100 * one.value:+5.1f} points  ({interval})  {_verdict(one)}")


def _print_falls(falls: dict[str, "Fall"], as_json: bool) -> None:
    if as_json:
        typer.echo(
            json.dumps(
                {
                    figure: {"a": one.clean, "b": one.shifted, "fall": one.fall}
                    for figure, one in falls.items()
                }
            )
        )
        return
    for figure, one in falls.items():
        values = f"{100 * one.clean:5.1f} % on A  {100 * one.shifted:5.1f} % on B"
        typer.echo(f"{_NAMES[figure]:>7}  {values}  {-100 * one.fall:+5.1f} points")


_NAMES = {"mean_ap": "mAP", "rank1": "rank-1", "rank5": "rank-5", "mean_inp": "mINP"}


def _verdict(one: "PairedDifference") -> str:
    if one.low > 0:
        return "B is better"
    if one.high < 0:
        return "A is better"
    return "no difference that these people could show"


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _print_evaluation(result: "Evaluation") -> None:
    metrics: dict[str, Any] = result.metrics()
    ranking, counts, intervals = metrics["ranking"], metrics["counts"], metrics["intervals"]
    for figure in ("rank1", "rank5", "mean_ap", "mean_inp"):
        interval = intervals.get(figure)
        words = "" if interval is None else f"  ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"
        typer.echo(f"{_NAMES[figure]:>24}  {100 * ranking[figure]:5.1f} %{words}")
    if "other_cameras_only" in metrics:
        typer.echo(
            f"{'other cameras only rank-1':>24}  {100 * metrics['other_cameras_only']['rank1']:5.1f} %"
        )
    verification = metrics["verification"]
    pairs = f"{verification['genuine_pairs']:,} genuine, {verification['impostor_pairs']:,} impostor pairs"
    typer.echo(f"{'equal error rate':>24}  {100 * verification['eer']:5.1f} %  ({pairs})")
    typer.echo(
        f"{counts['queries']:,} queries of {counts['query_people']:,} people "
        f"({ranking['skipped_queries']:,} skipped: no match), "
        f"{counts['gallery']:,} gallery images; ranked by {ranking['metric']}"
    )
