"""The commands that serving brings; heavy imports happen inside them, so that ``--help`` answers at once."""

import typer

from serving.cli.afterwards import forget, rematch
from serving.cli.find import find
from serving.cli.gallery import embed, gallery_app
from serving.cli.job import crops, match, report, score, tracks
from serving.cli.models import check
from serving.cli.shared import AsJson, Backend, Model, Threads

__all__ = ["AsJson", "Backend", "Model", "Threads", "add_commands", "check", "job_file"]


def add_commands(app: typer.Typer) -> None:
    """Mount serving's commands on the console script's app."""
    app.command()(embed)
    app.add_typer(gallery_app, name="gallery")
    for command in (match, rematch, find, forget, score, report, tracks, crops):
        app.command()(command)
