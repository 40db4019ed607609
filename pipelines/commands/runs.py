"""``reid runs``: what MLflow knows of trainings, and what must still be sent to it."""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.stage.places import CATALOG, EXPORTED, GALLERY, PARAMS
from reid.errors import ReidError, UsageError

if TYPE_CHECKING:
    from reid.training.tracking import Tracker

__all__ = ["runs_app"]

runs_app = typer.Typer(
    help="Trainings in MLflow: list, show where things come from, a page on a sweep, deliver what waits.",
    no_args_is_help=True,
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
    model: Annotated[Path, typer.Option(help="Exported model directory.")] = EXPORTED,
    gallery: Annotated[Path, typer.Option(help="The gallery's file.")] = GALLERY,
    catalog: Annotated[Path, typer.Option(help="The catalog's file.")] = CATALOG,
    params: ParamsFile = PARAMS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Data -> run -> model -> engine -> gallery, and whether each fits the one before."""
    from pipelines.model import lineage
    from pipelines.stage.run_log import REGISTERED
    from reid.card import CARD_NAME, load_card

    if run is None:
        if not (model / CARD_NAME).exists():
            raise UsageError(
                f"{model} holds no exported model: name a run (`reid runs list`) or run `dvc repro export`"
            )
        run = load_card(model).mlflow_run_id
    with _asked(params) as tracker:
        links = lineage.lineage(
            lineage.read_run(tracker, run, REGISTERED), REGISTERED, catalog, model, gallery
        )
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
    params: ParamsFile = PARAMS,
    most: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
) -> None:
    """The newest runs."""
    with _asked(params) as tracker:
        found = tracker.client.search_runs(
            [tracker.experiment_id], order_by=["attributes.start_time DESC"], max_results=most
        )
    for run in found:
        figure = run.data.metrics.get("val_mean_ap")
        words = "" if figure is None else f"validation mAP {figure:.3f}"
        child = "  of " + run.data.tags["mlflow.parentRunId"] if "mlflow.parentRunId" in run.data.tags else ""
        typer.echo(f"{run.info.run_id}  {run.info.status:9} {run.info.run_name:24} {words}{child}")


@runs_app.command()
def sweep(
    out: Annotated[Path, typer.Option(help="The page's file.")],
    run: Annotated[
        str | None,
        typer.Argument(help="The parent run of the trials; that of the newest sweep where none is given."),
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """A page on the trials of a sweep: curves, values, which were stopped."""
    from pipelines.pages.sweep import read_sweep, write_sweep_page

    with _asked(params) as tracker:
        found = read_sweep(tracker, run)
    write_sweep_page(found, out)
    best = found.trials[0]
    figure = f"{found.metric} {best.last:.3f}" if best.curve else f"no {found.metric} yet"
    typer.echo(f"{out}: {len(found.trials)} trials of {found.name}, the best {best.name} ({figure})")


@runs_app.command()
def deliver(params: ParamsFile = PARAMS) -> None:
    """Tell MLflow what it missed while it could not be reached."""
    from reid.config import load_params
    from reid.training.tracking import Tracker

    tracker = Tracker.of(load_params(params).tracking)
    before = sum(1 for _ in tracker.records.glob("*/"))
    waiting = tracker.deliver()
    if waiting:
        raise ReidError(
            f"MLflow at {tracker.shown} cannot be told of {len(waiting)} runs ({tracker.problem}): "
            f"they stay in {tracker.records}"
        )
    typer.echo(f"{before} runs delivered to MLflow at {tracker.shown}" if before else "nothing waits")


@runs_app.command()
def relocate(params: ParamsFile = PARAMS) -> None:
    """Correct MLflow's addresses of pictures and models after the project's folder was moved or copied."""
    from reid.config import load_params
    from reid.training.places import relocate as correct

    changed = correct(load_params(params).tracking.uri)
    for old, new in changed:
        typer.echo(f"{old} is now {new}")
    if not changed:
        typer.echo("every address is right")


@contextmanager
def _asked(params: Path) -> Iterator["Tracker"]:
    """A tracker that is only asked what it knows.

    A database is asked in a copy: MLflow makes what it misses in one that it opens.

    Raises:
        UsageError: there is no database yet.
        ReidError: MLflow, or its database, does not answer.
    """
    from reid.config import load_params
    from reid.training.places import sqlite_file
    from reid.training.tracking import Tracker

    tracking = load_params(params).tracking
    tracker = Tracker.of(tracking)
    tracker.only_asked = True
    database = sqlite_file(tracking.uri)
    with tempfile.TemporaryDirectory(prefix="reid-runs-") as folder:
        try:
            if database is not None:
                tracker.read_from(_copied(database, Path(folder)))
            yield tracker
        except (sqlite3.Error, *tracker.errors) as error:
            raise _unreachable(tracker, error) from error


def _copied(database: Path, folder: Path) -> Path:
    if not (database.is_file() and database.stat().st_size):
        what = "is empty" if database.is_file() else "does not exist"
        raise UsageError(f"{database} {what}: run this in the project's folder, or train first (`dvc repro`)")
    copy = folder / "copy.db"
    with (
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def _unreachable(tracker: "Tracker", error: Exception) -> ReidError:
    from reid.addresses import redacted_text

    if isinstance(error, ReidError):  # it says all there is to say
        return error
    reason = redacted_text(str(error).splitlines()[0])
    if tracker.uri.startswith("sqlite:"):
        return ReidError(f"{tracker.shown} cannot be read ({reason}): restore a copy of it, or train anew")
    return ReidError(
        f"MLflow at {tracker.shown} cannot be reached ({reason}): correct tracking.uri or start the server"
    )
