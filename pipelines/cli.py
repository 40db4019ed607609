"""The console script ``reid``."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.calibrate import calibrate
from pipelines.commands.evaluate import compare, evaluate
from pipelines.commands.imports import import_model
from pipelines.commands.metric import metric_app
from pipelines.commands.models import fetch, list_models, show_model
from pipelines.commands.runs import runs_app
from pipelines.stage.failure import end_quickly, end_with
from pipelines.stage.library_lines import without_library_lines
from pipelines.stage.places import PARAMS
from reid import __version__
from reid.errors import ReidError, UsageError
from serving.cli import add_commands, check

__all__ = ["app", "main"]

app = typer.Typer(
    name="reid",
    help="Train models that tell people apart, prove how good they are, and find people in camera footage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(
    help="Model directories, and weights that a training can start from.", no_args_is_help=True
)
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")
app.add_typer(metric_app, name="metric")
add_commands(app)
models_app.command()(check)
models_app.command("import")(import_model)
models_app.command()(fetch)
models_app.command("list")(list_models)
models_app.command("show")(show_model)
for command in (evaluate, compare, calibrate):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reid {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the script itself."""


@app.command()
def params(path: Annotated[Path, typer.Argument(help="The file to check.")] = PARAMS) -> None:
    """Check a params.yaml and say what is wrong with it."""
    from pipelines.stage.shortages import dropped_ingredients
    from reid.card import shipped_start
    from reid.config import load_params

    checked = load_params(path)
    shipped_start(checked.model.weights, checked.model.backbone)
    if find_spec("torch") is not None:  # without it nothing here trains, and its losses cannot be asked
        from reid.training.checks import check_objective, check_space

        for name in (*checked.pretrain, *checked.objectives):
            check_objective(checked, name)
            check_space(checked, name)
    for line in dropped_ingredients(checked):
        typer.echo(line)
    typer.echo(f"{path} is valid")


def main() -> None:
    """Run a command; an error meant for people becomes one line on standard error and its exit code."""
    end_quickly()
    try:
        with without_library_lines():
            app()
    except (ReidError, OSError) as error:
        end_with(error)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("pipelines", "reid", "serving"):
            raise  # a mistake of ours
        end_with(
            UsageError(
                f"{error.name} is not installed: pip install 'reid-pipeline[serve]' for camera jobs and "
                "galleries, 'reid-pipeline[train]' for everything"
            )
        )
    except KeyboardInterrupt:
        sys.stderr.write("reid: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
