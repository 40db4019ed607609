"""``reid find``: where else a person was, in the outputs of finished jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.shared import INCOMPLETE, AsJson, Backend, Threads, echo, finite, print_warnings, table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from reid.images import Image
    from serving.job.finding import Found, Seen

__all__ = ["find"]

_WIDE = 1.0  # width by height of a picture that is hardly one standing person cut out


def find(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Pictures of one person, cut out, or folders of them."),
    ] = None,
    jobs: Annotated[
        list[Path] | None,
        typer.Option("--in", help="Output folder of a finished job; may be given again.", metavar="DIR"),
    ] = None,
    sighting: Annotated[
        str | None,
        typer.Option(help="Look for whom a sighting shows, by its crop's name.", metavar="DIR#CAMERA-N"),
    ] = None,
    person: Annotated[
        str | None, typer.Option(help="Look for whom the jobs call so, provisional names too.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model directory; that of the jobs where not given.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=100_000, help="How many sightings at most.")] = 20,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=2,
            callback=finite,
            help="Largest distance that counts as the same person; each job's own if not given.",
        ),
    ] = None,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Where else was this person: the sightings of finished jobs nearest to pictures, to a sighting or to a
    name, nearest first.
    """
    from reid.errors import UsageError
    from serving.job.finding import find as nearest
    from serving.job.finding import of_name, of_sighting, open_seen, same_model

    if not jobs:
        raise UsageError("name the output folders of finished jobs: --in DIR, again for each")
    if sum(map(bool, (images, sighting, person))) != 1:
        raise UsageError("name whom to look for: pictures, or --sighting DIR#CAMERA-N, or --person NAME")
    seen = [open_seen(folder) for folder in dict.fromkeys(jobs)]
    same_model(seen)
    without, unreadable = None, list[str]()
    if sighting is not None:
        looked_for, without = of_sighting(seen, sighting)
    elif person is not None:
        looked_for = of_name(seen, person)
    else:
        looked_for, unreadable = _of_pictures(images or [], seen, model, backend, threads)
    found = nearest(looked_for, seen, top, threshold, without)
    rows = [_row(number, one) for number, one in enumerate(found, 1)]
    same = sum(one.within for one in found)
    if as_json:
        echo(True, {"sightings": rows, "within": same, "unreadable": unreadable}, "")
    else:
        head = ("", "camera", "from", "to", "named", "distance", "same", "crop")
        several = len(seen) > 1
        shown = [(*_cells(row), *([row["job"]] if several else [])) for row in rows]
        table((*head, "job") if several else head, shown)
        typer.echo(
            f"{same} of {len(rows)} lie within the threshold, of "
            f"{sum(len(one.rows) for one in seen)} sightings"
        )
    print_warnings(unreadable)
    if unreadable:
        raise typer.Exit(INCOMPLETE)


def _of_pictures(
    images: list[Path], seen: list["Seen"], model: Path | None, backend: str, threads: int | None
) -> "tuple[npt.NDArray[np.float32], list[str]]":
    """The pooled embedding of pictures of one person, and what could not be read."""
    from reid.embeddings import pool
    from reid.errors import ReidError
    from serving.embedding import embed_files
    from serving.embedding.table import collect_images
    from serving.runtime import load

    def width_to_height(image: "Image") -> float:
        return image.shape[1] / image.shape[0]

    embedder = load(model or seen[0].model, backend, threads)
    if embedder.fingerprint != seen[0].fingerprint:
        raise ReidError(
            f"{seen[0].folder} was embedded by another model than {model or seen[0].model}: name that "
            "one, or run the job again with this one"
        )
    paths = collect_images(images, lambda line: print_warnings([line]))
    found = embed_files(embedder, paths, threads=threads, measure=width_to_height)
    if not found.paths:
        raise ReidError(f"not one of the pictures can be read; the first: {found.unreadable[0].reason}")
    for path, shape in zip(found.paths, found.measured, strict=True):
        if shape > _WIDE:
            print_warnings([f"{path} is wider than high: if it shows more than one person, cut that one out"])
    return pool(found.embeddings), [one.reason for one in found.unreadable]


def _row(number: int, one: "Found") -> dict[str, Any]:
    row = one.row
    return {
        "rank": number,
        "job": str(one.folder),
        "camera": row["camera"],
        "tracklet": row["tracklet"],
        "start_s": row["start_s"],
        "end_s": row["end_s"],
        "start_time": None if row["start_time"] is None else row["start_time"].isoformat(),
        "end_time": None if row["end_time"] is None else row["end_time"].isoformat(),
        "named": one.name,
        "distance": one.distance,
        "within": one.within,
        "crop": str(one.folder / row["crop"]),
    }


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    def clock(which: str) -> str:
        time: str | None = row[f"{which}_time"]
        return f"{row[f'{which}_s']:.1f} s" if time is None else time[:19].replace("T", " ")

    return (
        row["rank"],
        row["camera"],
        clock("start"),
        clock("end"),
        row["named"],
        f"{row['distance']:.3f}",
        "yes" if row["within"] else "",
        Path(row["crop"]).name,
    )
