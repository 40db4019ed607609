"""What the commands of a gallery share: their arguments, and how they show what came out. Heavy imports are
inside.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reid.pace import Update
    from serving.gallery import Gallery

__all__ = [
    "BYTES_REMAIN",
    "INCOMPLETE",
    "AsJson",
    "Backend",
    "GalleryPath",
    "Model",
    "Name",
    "Threads",
    "bar",
    "day",
    "echo",
    "finite",
    "nothing_left",
    "open_for_admin",
    "print_warnings",
    "table",
]

INCOMPLETE = 3
BYTES_REMAIN = (
    "another process has the gallery open, or the disk is full, so bytes of what was removed remain in its "
    "file: they go when it is next written to"
)
_WIDE = 500  # columns

GalleryPath = Annotated[Path, typer.Argument(help="The gallery's file.", metavar="GALLERY")]
Name = Annotated[str, typer.Argument(help="A person's name.", metavar="IDENTITY")]
Model = Annotated[
    Path,
    typer.Option(
        "--model",
        help="Model directory, with model.json inside; or rendered, which comes with the package.",
    ),
]
Backend = Annotated[str, typer.Option(help="Runtime: auto, onnxruntime or openvino.")]
Threads = Annotated[int | None, typer.Option(min=1, max=4096, help="Processors to use; all where not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def finite(value: float | None) -> float | None:
    """Of an option: NaN lies within every range for a comparison that only asks what is outside."""
    if value is not None and not isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def open_for_admin(path: Path, *, read_only: bool = False) -> "Gallery":
    """Open a gallery for work that touches no embedding of a model; ``read_only`` to look at it."""
    from serving.gallery import Gallery, key_from_environment

    return Gallery.open(path, None, create=False, key=key_from_environment(), read_only=read_only)


@contextmanager
def nothing_left(path: Path) -> Iterator[None]:
    """A gallery that a command made is gone again when the command fails with nobody in it."""
    from reid.files import is_there, remove_empty

    was_there = is_there(path, "gallery")
    new_folders = [folder for folder in path.parents if not folder.exists()]
    try:
        yield
    except BaseException:
        if not was_there and path.exists():
            with open_for_admin(path, read_only=True) as gallery:
                empty = not gallery.people()
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm") if empty else ():
                path.with_name(name).unlink(missing_ok=True)
        remove_empty(new_folders)
        raise


def bar(what: str) -> AbstractContextManager["Update"]:
    """How far a work is, on standard error; what is yielded takes (done, all)."""
    from rich.console import Console

    from reid.pace import shown_pace

    return shown_pace(what, Console(stderr=True), lambda line: print_warnings([line]))


def echo(as_json: bool, value: dict[str, Any], text: str) -> None:
    """Print an answer: one JSON object, or its text."""
    typer.echo(json.dumps(value, ensure_ascii=False) if as_json else text)


def print_warnings(lines: Iterable[str]) -> None:
    """Print lines on standard error."""
    for line in lines:
        typer.echo(line, err=True)


def day(moment: float) -> str:
    """A moment in seconds since 1970 as text, UTC."""
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
    # of a damaged gallery, which `reid gallery verify` tells: it may hold anything, or nothing
    except (OverflowError, ValueError, OSError, TypeError):
        return "no time"


def table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for name in head:
        shown.add_column(name, overflow="fold")  # names are copied from here: nothing of one is cut off
    for row in rows:
        # Text and not str: a name in square brackets would be taken for markup.
        shown.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE  # a file or another program takes lines of any length
    console.print(shown)
