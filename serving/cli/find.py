"""``reid find``: where else a person was, in the outputs of finished jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.shared import INCOMPLETE, AsJson, Backend, Threads, echo, finite, print_warnings, table

if TYPE_CHECKING:
    from reid.images import Image
    from serving.job.afterwards.search import Found

__all__ = ["find"]


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
    box: Annotated[
        str | None,
        typer.Option(
            help="Where the person is in the one picture, in pixels.", metavar="LEFT,TOP,WIDTH,HEIGHT"
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            help="A detector's file that finds the person in each picture; the jobs' for wide pictures."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write the answer as a page: crops, and the way over the cameras.", metavar="FILE"),
    ] = None,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Where else was this person: the sightings of finished jobs nearest to pictures, to a sighting or to a
    name, nearest first.
    """
    from reid.errors import UsageError
    from serving.job.afterwards.search import certainty_of, of_name, of_sighting, open_seen, same_model
    from serving.job.afterwards.search import find as nearest
    from serving.job.report.folders import check_free_page, distinct

    if not jobs:
        raise UsageError("name the output folders of finished jobs: --in DIR, again for each")
    if sum(map(bool, (images, sighting, person))) != 1:
        raise UsageError("name whom to look for: pictures, or --sighting DIR#CAMERA-N, or --person NAME")
    if not images and (box is not None or detector is not None):
        raise UsageError("--box and --detector are of pictures: name some")
    from serving.cli.query import parse_box, query_of

    place = parse_box(box)
    if report is not None:  # before the search
        check_free_page(report)
    seen = [open_seen(folder) for folder in distinct(jobs)]
    same_model(seen)
    without, unreadable = None, tuple[str, ...]()
    pictures: tuple[Image, ...] = ()
    if sighting is not None:
        looked_for, without = of_sighting(seen, sighting)
    elif person is not None:
        looked_for = of_name(seen, person)
    else:
        asked = query_of(images or [], seen, model, backend, threads, place, detector)
        looked_for, pictures, unreadable = asked.embedding, asked.pictures, asked.unreadable
    found = nearest(looked_for, seen, top, threshold, without, certainty_of(seen, model))
    rows = [_row(number, one) for number, one in enumerate(found, 1)]
    same = sum(one.within for one in found)
    if as_json:
        echo(True, {"sightings": rows, "within": same, "unreadable": list(unreadable)}, "")
    else:
        head = ("", "camera", "from", "to", "named", "distance", "certain", "same", "crop")
        several = len(seen) > 1
        shown = [(*_cells(row), *([row["job"]] if several else [])) for row in rows]
        table((*head, "job") if several else head, shown)
        typer.echo(
            f"{same} of {len(rows)} lie within the threshold, of "
            f"{sum(len(one.rows) for one in seen)} sightings"
        )
    if report is not None:
        from serving.job.afterwards.route import write_route

        whom = person or sighting or f"{len(pictures)} picture{'s' * (len(pictures) != 1)}"
        write_route(report, f"Where else was {whom}?", found, seen, pictures)
        if not as_json:
            typer.echo(f"report: {report}")
    print_warnings(unreadable)
    if unreadable:
        raise typer.Exit(INCOMPLETE)


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
        "certainty": one.certainty,
        "within": one.within,
        "crop": str(one.folder / row["crop"]),
    }


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    def clock(which: str) -> str:
        time: str | None = row[f"{which}_time"]
        if time is None:
            return f"{row[f'{which}_s']:.1f} s"
        same_day = which == "end" and time[:10] == row["start_time"][:10]
        return time[11:19] if same_day else time[:19].replace("T", " ")

    return (
        row["rank"],
        row["camera"],
        clock("start"),
        clock("end"),
        row["named"],
        f"{row['distance']:.3f}",
        "" if row["certainty"] is None else f"{row['certainty']:.2f}",
        "yes" if row["within"] else "",
        Path(row["crop"]).name,
    )
