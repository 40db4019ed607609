"""The commands ``reid gallery ...`` and ``reid embed``. Heavy imports are inside them, so that ``--help`` is
fast.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from serving.cli import gallery_models as cli_gallery_models
from serving.cli import identify as cli_gallery_match
from serving.cli import people as cli_gallery_people
from serving.cli.shared import (
    INCOMPLETE,
    AsJson,
    Backend,
    GalleryPath,
    Model,
    Name,
    Threads,
    bar,
    day,
    echo,
    nothing_left,
    open_for_admin,
    print_warnings,
    table,
)

__all__ = ["embed", "gallery_app"]

gallery_app = typer.Typer(help="Known people: enroll, look at, correct, remove.", no_args_is_help=True)


@gallery_app.command()
def enroll(
    gallery: GalleryPath,
    source: Annotated[
        Path, typer.Argument(help="Folder of images, folder with one folder a person, or catalog (.parquet).")
    ],
    model: Model,
    pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression with the group identity; default ^(?P<identity>[^_]+)_"),
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of a catalog: train, val, query or gallery.")] = "gallery",
    retain_days: Annotated[
        int | None, typer.Option(min=1, help="From now on, keep references for so many days.")
    ] = None,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Add people; the gallery is made when it is not there. Images that are inside already are left out."""
    from reid.data.catalog import readable
    from serving.gallery import Gallery, key_from_environment
    from serving.gallery.enrollment import enroll_samples
    from serving.gallery.samples import find_samples
    from serving.runtime import load

    found = find_samples(source, pattern, split)
    embedder = load(model, backend, threads)
    print_warnings([embedder.chosen] if embedder.chosen else [])
    threshold = embedder.card.threshold("min", "image")
    near = threshold.distance if threshold else None
    key = key_from_environment()
    with (
        nothing_left(gallery),
        Gallery.open(gallery, embedder.fingerprint, dim=embedder.dim, create=True, key=key) as opened,
        bar("embedding") as advance,
    ):
        if retain_days is not None:
            opened.set_retention(retain_days)
        report = enroll_samples(
            opened, embedder, found.samples, lookalike_distance=near, threads=threads, on_progress=advance
        )
    count = sum(report.enrolled.values())
    value = {
        "enrolled": report.enrolled,
        "already": report.already,
        "unreadable": [readable(one.path) for one in report.unreadable],
        "skipped": [readable(path) for path in found.skipped],
        "left_out": list(found.notes),
        "conflicts": [asdict(one) for one in report.conflicts],
        "warnings": list(report.warnings),
        "version": report.version,
    }
    echo(
        as_json,
        value,
        f"{count} references of {len(report.enrolled)} people enrolled, {report.already} were there before",
    )
    print_warnings([*report.warnings, *(one.reason for one in report.unreadable)])
    print_warnings(found.notes)
    print_warnings(f"{readable(path)}: its name tells no person, left out" for path in found.skipped)
    if report.unreadable or found.skipped:
        raise typer.Exit(INCOMPLETE)


@gallery_app.command("list")
def list_(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Who is inside."""
    with open_for_admin(gallery, read_only=True) as opened:
        people = opened.people()
        version = opened.version
        days = opened.retain_days
        model = opened.fingerprint
    if as_json:
        echo(
            True,
            {
                "version": version,
                "model": model,
                "retain_days": days,
                "people": [asdict(person) for person in people],
            },
            "",
        )
        return
    rows = [(one.identity, one.references, ", ".join(one.cameras), day(one.last_taken_at)) for one in people]
    table(("identity", "references", "cameras", "newest"), rows)
    kept = "for ever" if days is None else f"{days} days"
    typer.echo(f"{len(people)} people, version {version}, model {model}, references kept {kept}")


@gallery_app.command()
def show(gallery: GalleryPath, identity: Name, as_json: AsJson = False) -> None:
    """The references of one person."""
    with open_for_admin(gallery, read_only=True) as opened:
        references = opened.show(identity)
    if as_json:
        echo(True, {"identity": identity, "references": [asdict(reference) for reference in references]}, "")
        return
    rows = [(one.id, one.source, one.camera, day(one.taken_at), f"{one.quality:.2f}") for one in references]
    table(("id", "source", "camera", "taken", "quality"), rows)


@gallery_app.command()
def verify(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Check the file and every row; exit code 1 when something is wrong."""
    with open_for_admin(gallery, read_only=True) as opened:
        report = opened.verify()
    sound = "all is well" if not report.problems else f"{len(report.problems)} problems"
    echo(
        as_json,
        asdict(report),
        f"{report.people} people, {report.references} references, version {report.version}: {sound}",
    )
    print_warnings(report.problems)
    if report.problems:
        raise typer.Exit(1)


@gallery_app.command()
def audit(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Who did what, when, to whom."""
    with open_for_admin(gallery, read_only=True) as opened:
        entries = opened.audit()
    if as_json:
        echo(True, {"entries": [asdict(entry) for entry in entries]}, "")
        return
    table(
        ("when", "who", "action", "identity", "detail"),
        [(day(e.at), e.who, e.action, e.identity, e.detail) for e in entries],
    )


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
    from serving.embedding.table import collect_images, embed_to_file
    from serving.runtime import PRECISIONS, load

    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown: want {', '.join(PRECISIONS)}")
    paths = collect_images(images, lambda line: print_warnings([line]))
    embedder = load(model, backend, threads, precision=precision)
    print_warnings([embedder.chosen] if embedder.chosen else [])
    with bar("embedding") as advance:
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
    echo(as_json, value, f"{written.rows} embeddings written to {written.path}{resumed}")
    print_warnings(one.reason for one in written.unreadable)
    if written.unreadable:
        raise typer.Exit(INCOMPLETE)


for _module in (cli_gallery_match, cli_gallery_people, cli_gallery_models):
    for _name in _module.__all__:
        gallery_app.command(_name.rstrip("_"))(getattr(_module, _name))
