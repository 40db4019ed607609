"""The commands for jobs that are done: ``rematch`` and ``forget``. Heavy imports are inside them."""

from pathlib import Path
from typing import Annotated

import typer

from serving.cli.shared import AsJson, echo, print_warnings

__all__ = ["forget", "rematch"]

Folders = Annotated[list[Path], typer.Argument(help="Output folders of finished jobs.", metavar="DIR...")]


def rematch(
    folders: Folders,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", help="Known people, in place of the jobs' own gallery; of jobs without one."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name people anew in finished jobs, by what the gallery knows now; no footage is touched."""
    from dataclasses import asdict

    from serving.job.afterwards.rematch import rematch as name_anew

    done = name_anew(folders, gallery)
    for one in done:
        text = (
            f"{one.folder}: already done, nothing has changed since"
            if one.unchanged
            else f"{one.folder}: {one.changed} of {one.sightings} sightings have another name"
        )
        if not as_json:
            echo(False, {}, text)
        if one.videos:
            gone = ", ".join(one.videos)
            print_warnings([f"{one.folder}: taken out, other names are drawn: {gone}; reid match draws anew"])
        if one.by_hand:
            print_warnings([f"{one.folder}: {one.by_hand} corrections of the tables alone are undone"])
    if as_json:
        echo(True, {"jobs": [asdict(one) | {"folder": str(one.folder)} for one in done]}, "")


def forget(
    folders: Folders,
    person: Annotated[
        list[str] | None,
        typer.Option(
            "--person", help="Erase whom the jobs call so, provisional names too; may be given again."
        ),
    ] = None,
    sighting: Annotated[
        list[str] | None,
        typer.Option(help="Erase a sighting, by its crop's name; of one job.", metavar="CAMERA-N"),
    ] = None,
    older_than: Annotated[
        int | None,
        typer.Option(
            min=1, max=36_500, help="Erase embeddings of sightings before so many days.", metavar="DAYS"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Erase people from finished jobs, with all that the jobs keep of them; or embeddings past their time."""
    from datetime import UTC, datetime

    from reid.errors import UsageError
    from serving.job.afterwards.erasure import expire
    from serving.job.afterwards.erasure import forget as erase
    from serving.job.report.folders import distinct

    if bool(person or sighting) == (older_than is not None):
        raise UsageError("name whom to erase, --person NAME or --sighting CAMERA-N; or --older-than DAYS")
    jobs = distinct(folders)
    if sighting and len(jobs) > 1:
        raise UsageError("--sighting is of one job: name one folder")
    now = datetime.now(UTC)
    done = [
        erase(folder, person or [], sighting or []) if older_than is None else expire(folder, older_than, now)
        for folder in jobs
    ]
    if person and not any(one.sightings for one in done):
        raise UsageError(f"nobody is called {' or '.join(map(repr, person))} in {', '.join(map(str, jobs))}")
    echo(as_json, {"jobs": [one.as_dict() for one in done]}, "\n".join(one.line for one in done))
