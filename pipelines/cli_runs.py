"""``reid runs``: what MLflow knows of trainings, and what must still be sent to it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.errors import ReidError, UsageError

if TYPE_CHECKING:
    from reid.training.tracking import Tracker

__all__ = ["runs_app"]

runs_app = typer.Typer(
    help="Trainings in MLflow: list, show where things come from, deliver what waits.", no_args_is_help=True
)

ParamsFile = Annotated[
    Path, typer.Option("--params", help="Names MLflow's address, in its section tracking.")
]


@runs_app.command()
def show(
    run: Annotated[
        str | None,
        typer.Argument(help="MLflow's id of a run; that of the exported model where none is given."),
    ] = None,
    model: Annotated[Path, typer.Option(help="Exported model directory.")] = Path("exported"),
    gallery: Annotated[Path, typer.Option(help="The gallery's file.")] = Path("galleries/gallery.db"),
    catalog: Annotated[Path, typer.Option(help="The catalog's file.")] = Path("data/catalog.parquet"),
    params: ParamsFile = Path("params.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Data -> run -> model -> engine -> gallery, and whether each fits the one before."""
    from pipelines import lineage
    from pipelines.logged import REGISTERED
    from reid.card import CARD_NAME, load_card

    if run is None:
        if not (model / CARD_NAME).exists():
            raise UsageError(
                f"{model} holds no exported model: name a run (`reid runs list`) or run `dvc repro export`"
            )
        run = load_card(model).mlflow_run_id
    tracker = _tracker(params)
    try:
        links = lineage.lineage(
            lineage.read_run(tracker, run, REGISTERED), REGISTERED, catalog, model, gallery
        )
    except tracker.errors as error:
        raise _unreachable(tracker, error) from error
    if as_json:
        typer.echo(json.dumps(lineage.as_json(links), ensure_ascii=False))
        return
    for link in links:
        mark = {True: "= ", False: "! ", None: ""}[link.holds]
        typer.echo(
            f"{link.what:>8}  {link.id[:12]:12}  "
            f"{link.detail}{'  [' + mark + link.why + ']' if link.why else ''}"
        )


@runs_app.command("list")
def list_(
    params: ParamsFile = Path("params.yaml"),
    most: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
) -> None:
    """The newest runs."""
    tracker = _tracker(params)
    try:
        found = tracker.client.search_runs(
            [tracker.experiment_id], order_by=["attributes.start_time DESC"], max_results=most
        )
    except tracker.errors as error:
        raise _unreachable(tracker, error) from error
    for run in found:
        figure = run.data.metrics.get("val_mean_ap")
        words = "" if figure is None else f"validation mAP {figure:.3f}"
        child = "  of " + run.data.tags["mlflow.parentRunId"] if "mlflow.parentRunId" in run.data.tags else ""
        typer.echo(f"{run.info.run_id}  {run.info.status:9} {run.info.run_name:24} {words}{child}")


@runs_app.command()
def deliver(params: ParamsFile = Path("params.yaml")) -> None:
    """Tell MLflow what it missed while it could not be reached."""
    tracker = _tracker(params, asked=False)
    before = sum(1 for _ in tracker.records.glob("*/"))
    waiting = tracker.deliver()
    if waiting:
        raise ReidError(
            f"MLflow at {tracker.shown} cannot be told of {len(waiting)} runs ({tracker.problem}): "
            f"they stay in {tracker.records}"
        )
    typer.echo(f"{before} runs delivered to MLflow at {tracker.shown}" if before else "nothing waits")


@runs_app.command()
def relocate(params: ParamsFile = Path("params.yaml")) -> None:
    """Correct MLflow's addresses of pictures and models after the project's folder was moved or copied."""
    from reid.config import load_params
    from reid.training.places import relocate as correct

    changed = correct(load_params(params).tracking.uri)
    for old, new in changed:
        typer.echo(f"{old} is now {new}")
    if not changed:
        typer.echo("every address is right")


def _tracker(params: Path, asked: bool = True) -> "Tracker":
    """``asked``: it is only asked what it knows."""
    from reid.config import load_params
    from reid.training.places import sqlite_file
    from reid.training.tracking import Tracker

    tracking = load_params(params).tracking
    database = sqlite_file(tracking.uri)
    # MLflow would make one, for everybody to read, and then know nothing of any run.
    if asked and database is not None and not (database.is_file() and database.stat().st_size):
        what = "is empty" if database.is_file() else "does not exist"
        raise UsageError(f"{database} {what}: run this in the project's folder, or train first (`dvc repro`)")
    tracker = Tracker.of(tracking)
    tracker.only_asked = asked
    return tracker


def _unreachable(tracker: "Tracker", error: Exception) -> ReidError:
    from reid.addresses import redacted_text

    if isinstance(error, ReidError):  # it says all there is to say
        return error
    reason = redacted_text(str(error).splitlines()[0])
    return ReidError(
        f"MLflow at {tracker.shown} cannot be reached ({reason}): correct tracking.uri or start the server"
    )
