"""The commands ``reid gallery ...`` and ``reid embed``. Heavy imports are inside them, so that ``--help`` is fast."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from serving.gallery import Gallery, Removal

__all__ = ["embed", "gallery_app"]

INCOMPLETE = 3

gallery_app = typer.Typer(help="Known people: enroll, look at, correct, remove.", no_args_is_help=True)

GalleryPath = Annotated[Path, typer.Argument(help="The gallery's file.", metavar="GALLERY")]
Name = Annotated[str, typer.Argument(help="A person's name.", metavar="IDENTITY")]
Model = Annotated[Path, typer.Option("--model", help="Model directory, with model.json inside.")]
Backend = Annotated[str, typer.Option(help="Runtime: auto, onnxruntime or openvino.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processors to use; all where not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@gallery_app.command()
def enroll(
    gallery: GalleryPath,
    source: Annotated[Path, typer.Argument(help="Folder of images, folder with one folder a person, or catalog (.parquet).")],
    model: Model,
    pattern: Annotated[str | None, typer.Option(help="Regular expression with the group identity; default ^(?P<identity>[^_]+)_")] = None,
    split: Annotated[str, typer.Option(help="Rows of a catalog: train, val, query or gallery.")] = "gallery",
    retain_days: Annotated[int | None, typer.Option(min=1, help="From now on, keep references for so many days.")] = None,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Add people; the gallery is made when it is not there. Images that are inside already are left out."""
    from serving.enrolling import enroll_samples, find_samples
    from serving.gallery import Gallery
    from serving.runtime import load

    found = find_samples(source, pattern, split)
    embedder = load(model, backend, threads)
    threshold = embedder.card.threshold("min", "image")
    near = threshold.distance if threshold else None
    with Gallery.open(gallery, embedder.fingerprint, dim=embedder.dim, create=True) as opened, _bar("embedding") as advance:
        if retain_days is not None:
            opened.set_retention(retain_days)
        report = enroll_samples(opened, embedder, found.samples, lookalike_distance=near, threads=threads, on_progress=advance)
    count = sum(report.enrolled.values())
    value = {
        "enrolled": report.enrolled,
        "already": report.already,
        "unreadable": [str(one.path) for one in report.unreadable],
        "skipped": [str(path) for path in found.skipped],
        "warnings": list(report.warnings),
        "version": report.version,
    }
    _show(as_json, value, f"{count} references of {len(report.enrolled)} people enrolled, {report.already} were there before")
    _complain([*report.warnings, *(one.reason for one in report.unreadable)])
    _complain(f"{path}: its name tells no person, left out" for path in found.skipped)
    if report.unreadable or found.skipped:
        raise typer.Exit(INCOMPLETE)


@gallery_app.command("list")
def list_(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Who is inside."""
    with _administer(gallery) as opened:
        people, version, days = opened.people(), opened.version, opened.retain_days
        model = opened.fingerprint
    if as_json:
        _show(True, {"version": version, "model": model, "retain_days": days, "people": [asdict(person) for person in people]}, "")
        return
    rows = [(one.identity, one.references, ", ".join(one.cameras), _day(one.last_taken_at)) for one in people]
    _table(("identity", "references", "cameras", "newest"), rows)
    kept = "for ever" if days is None else f"{days} days"
    typer.echo(f"{len(people)} people, version {version}, model {model}, references kept {kept}")


@gallery_app.command()
def show(gallery: GalleryPath, identity: Name, as_json: AsJson = False) -> None:
    """The references of one person."""
    with _administer(gallery) as opened:
        references = opened.show(identity)
    if as_json:
        _show(True, {"identity": identity, "references": [asdict(reference) for reference in references]}, "")
        return
    rows = [(one.id, one.source, one.camera, _day(one.taken_at), f"{one.quality:.2f}") for one in references]
    _table(("id", "source", "camera", "taken", "quality"), rows)


@gallery_app.command()
def remove(gallery: GalleryPath, identity: Name, as_json: AsJson = False) -> None:
    """Take a person out; the embeddings are erased from the file."""
    with _administer(gallery) as opened:
        _report_removal(opened.remove(identity), as_json)


@gallery_app.command()
def expire(
    gallery: GalleryPath,
    now: Annotated[str | None, typer.Option(help="As if it were this moment, ISO 8601; UTC without a zone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take out references older than the gallery's retention time."""
    from datetime import datetime

    from reid.errors import UsageError

    try:
        moment = None if now is None else datetime.fromisoformat(now)
    except ValueError as error:
        raise UsageError(f"--now {now!r} is not a moment: write it like 2026-01-31T12:00") from error
    with _administer(gallery) as opened:
        _report_removal(opened.expire(moment), as_json)


@gallery_app.command()
def rename(gallery: GalleryPath, identity: Name, new_name: Annotated[str, typer.Argument()], as_json: AsJson = False) -> None:
    """Give a person another name."""
    with _administer(gallery) as opened:
        opened.rename(identity, new_name)
        _show(as_json, {"identity": new_name, "was": identity, "version": opened.version}, f"{identity} is now {new_name}")


@gallery_app.command()
def merge(gallery: GalleryPath, identity: Name, into: Annotated[str, typer.Argument(metavar="INTO")], as_json: AsJson = False) -> None:
    """Two names are one person: give the first one's references to the second."""
    with _administer(gallery) as opened:
        opened.merge(identity, into)
        _show(as_json, {"identity": into, "was": identity, "version": opened.version}, f"{identity} is now part of {into}")


@gallery_app.command()
def retention(
    gallery: GalleryPath,
    days: Annotated[str, typer.Argument(help="A number of days, or: forever", metavar="DAYS")],
    as_json: AsJson = False,
) -> None:
    """Set how long references are kept."""
    from reid.errors import UsageError

    if days != "forever" and not days.isdecimal():
        raise UsageError(f"retention {days!r} is not understood: give a number of days, or forever")
    limit = None if days == "forever" else int(days)
    with _administer(gallery) as opened:
        opened.set_retention(limit)
        kept = "for ever" if limit is None else f"for {limit} days"
        _show(as_json, {"retain_days": limit, "version": opened.version}, f"references are kept {kept}")


@gallery_app.command()
def export(gallery: GalleryPath, output: Annotated[Path, typer.Argument(help="A .parquet file.")], as_json: AsJson = False) -> None:
    """Write all references to Parquet."""
    with _administer(gallery) as opened:
        count = opened.export(output)
    _show(as_json, {"references": count, "path": str(output)}, f"{count} references written to {output}")


@gallery_app.command()
def verify(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Check the file and every row; exit code 1 when something is wrong."""
    with _administer(gallery) as opened:
        report = opened.verify()
    sound = "all is well" if not report.problems else f"{len(report.problems)} problems"
    _show(as_json, asdict(report), f"{report.people} people, {report.references} references, version {report.version}: {sound}")
    _complain(report.problems)
    if report.problems:
        raise typer.Exit(1)


@gallery_app.command()
def audit(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Who did what, when, to whom."""
    with _administer(gallery) as opened:
        entries = opened.audit()
    if as_json:
        _show(True, {"entries": [asdict(entry) for entry in entries]}, "")
        return
    _table(("when", "who", "action", "identity", "detail"), [(_day(e.at), e.who, e.action, e.identity, e.detail) for e in entries])


def embed(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The Parquet file to write.")],
    model: Model,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Embed images; a killed run goes on where it stopped."""
    from reid.errors import UsageError
    from serving.embedding_file import collect_images, embed_to_file
    from serving.runtime import PRECISIONS, load

    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown: want {', '.join(PRECISIONS)}")
    paths = collect_images(images)
    embedder = load(model, backend, threads, precision=precision)
    with _bar("embedding") as advance:
        written = embed_to_file(embedder, paths, output, threads=threads, on_progress=advance)
    value = {
        "path": str(written.path),
        "rows": written.rows,
        "dim": embedder.dim,
        "resumed": written.resumed,
        "backend": embedder.backend,
        "fingerprint": embedder.fingerprint,
        "unreadable": [str(one.path) for one in written.unreadable],
    }
    resumed = f" ({written.resumed} from the run before)" if written.resumed else ""
    _show(as_json, value, f"{written.rows} embeddings written to {written.path}{resumed}")
    _complain(one.reason for one in written.unreadable)
    if written.unreadable:
        raise typer.Exit(INCOMPLETE)


def _administer(path: Path) -> "Gallery":
    from serving.gallery import Gallery

    return Gallery.open(path, None, create=False)


def _report_removal(removal: "Removal", as_json: bool) -> None:
    count = sum(removal.removed.values())
    names = ", ".join(removal.removed)
    _show(as_json, asdict(removal), f"{count} references removed{f' ({names})' if names else ''}")
    if not removal.purged:
        _complain(["another process has the gallery open, so bytes remain in its file: they go with the next remove or expire"])


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; yields what to call with (done, all)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show(as_json: bool, value: dict[str, Any], text: str) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False) if as_json else text)


def _complain(lines: "Iterator[str] | Sequence[str]") -> None:
    for line in lines:
        typer.echo(line, err=True)


def _day(moment: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head)
    for row in rows:
        # Text and not str: a name in square brackets would be taken for markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)
