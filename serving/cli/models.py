"""The command ``reid models check``. Heavy imports are inside it, so that ``--help`` is fast."""

from pathlib import Path
from typing import Annotated, Any

import typer

from reid.shipped import model_folder
from serving.cli.shared import AsJson, Threads, echo, table

__all__ = ["check"]


def check(
    model: Annotated[
        Path,
        typer.Argument(help="Model directory, with model.json inside.", metavar="DIR", callback=model_folder),
    ],
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Run every file in every runtime present against the directory's self-test; exit code 1 where one
    strays.
    """
    from reid.card import load_card
    from reid.errors import ReidError, UsageError
    from serving.runtime import check_files

    card = load_card(model)
    if card.self_test is None:
        raise UsageError(
            f"{model} has no self-test: export the model again, its files can only be held against one "
            "written with them"
        )
    rows = check_files(card, model, threads)
    ran = [row for row in rows if row["ran"]]
    strays = [row for row in ran if row["lowest"] is None or row["verdict"] == "strays"]
    value: dict[str, Any] = {
        "model": str(model),
        "files": rows,
        "left_out": card.left_out,
        "holds": not strays,
    }
    if as_json:
        echo(True, value, "")
    else:
        shown = [
            (
                row["file"],
                row["runtime"],
                *(_figure(row[key]) for key in ("lowest", "wanted")),
                row["verdict"],
            )
            for row in rows
        ]
        table(("file", "runtime", "lowest cosine", "wanted", "verdict"), shown)
        for precision, reason in card.left_out.items():
            typer.echo(f"{precision} was left out at the export: {reason}")
    if strays:
        first = f"{strays[0]['file']} in {strays[0]['runtime']}"
        raise ReidError(
            f"{len(strays)} of {len(ran)} that ran do not hold here, the first: {first}: take another, "
            "or export the model again"
        )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
