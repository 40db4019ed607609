"""The commands for a gallery as a whole: another model, a search index, encryption, export and import."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from serving.cli.shared import (
    BYTES_REMAIN,
    INCOMPLETE,
    AsJson,
    Backend,
    GalleryPath,
    Model,
    Threads,
    bar,
    echo,
    nothing_left,
    open_for_admin,
    print_warnings,
    table,
)

__all__ = ["encrypt", "export", "forget", "import_", "index", "key", "models", "reembed", "switch"]

Fingerprint = Annotated[
    str,
    typer.Argument(help="A model's fingerprint, as `reid gallery models` prints it.", metavar="FINGERPRINT"),
]


def export(
    gallery: GalleryPath,
    output: Annotated[Path, typer.Argument(help="A .parquet file.")],
    as_json: AsJson = False,
) -> None:
    """Write all references to Parquet, readable by its owner alone and never encrypted."""
    with open_for_admin(gallery) as opened:
        count = opened.export(output)
    echo(as_json, {"references": count, "path": str(output)}, f"{count} references written to {output}")


def import_(
    gallery: GalleryPath,
    source: Annotated[Path, typer.Argument(help="What `reid gallery export` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Enroll what an export holds; the gallery is made when it is not there. What is inside already is left
    out.
    """
    from serving.gallery import Gallery, key_from_environment

    with nothing_left(gallery), Gallery.open(gallery, None, key=key_from_environment()) as opened:
        added, already = opened.import_from(source)
        value = {"imported": added, "already": already, "version": opened.version}
    echo(as_json, value, f"{added} references imported, {already} were there before")


def models(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """The models whose embeddings are inside; the first is searched."""
    with open_for_admin(gallery, read_only=True) as opened:
        found = opened.models()
    if as_json:
        echo(True, {"models": [asdict(one) for one in found]}, "")
        return
    rows = [
        (one.fingerprint, "searched" if one.active else "", one.dim or "", one.references, one.missing)
        for one in found
    ]
    table(("fingerprint", "", "dim", "references", "missing"), rows)


def reembed(
    gallery: GalleryPath,
    model: Model,
    backend: Backend = "auto",
    threads: Threads = None,
    switch: Annotated[
        bool, typer.Option("--switch", help="Search with the new model once nothing is missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Embed all references anew with another model, from their images; a killed run goes on where it
    stopped.
    """
    from serving.runtime import load

    embedder = load(model, backend, threads)
    with open_for_admin(gallery) as opened, bar("embedding") as advance:
        done = opened.reembed(embedder, advance)
        if switch and not done.missing:
            opened.switch_model(embedder.fingerprint)
        version = opened.version
    switched = switch and not done.missing
    value = {
        "embedded": done.embedded,
        "missing": done.missing,
        "unreadable": [str(one.path) for one in done.unreadable],
        "fingerprint": embedder.fingerprint,
        "switched": switched,
        "version": version,
    }
    echo(
        as_json,
        value,
        (
            f"{done.embedded} references embedded, {done.missing} "
            f"missing{', searched from now on' if switched else ''}"
        ),
    )
    print_warnings(one.reason for one in done.unreadable)
    if done.missing:
        raise typer.Exit(INCOMPLETE)


def switch(
    gallery: GalleryPath,
    fingerprint: Fingerprint,
    leave_behind: Annotated[
        bool, typer.Option("--leave-behind", help="Even if references have no embedding of that model.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search with another model from now on; the embeddings of the one before stay until `forget`."""
    with open_for_admin(gallery) as opened:
        opened.switch_model(fingerprint, leave_behind=leave_behind)
        echo(
            as_json,
            {"fingerprint": fingerprint, "version": opened.version},
            f"searched with model {fingerprint} from now on",
        )


def forget(gallery: GalleryPath, fingerprint: Fingerprint, as_json: AsJson = False) -> None:
    """Erase the embeddings of a model that is no longer searched."""
    with open_for_admin(gallery) as opened:
        purged = opened.forget_model(fingerprint)
        echo(
            as_json,
            {"fingerprint": fingerprint, "purged": purged, "version": opened.version},
            f"model {fingerprint} is forgotten",
        )
    if not purged:
        print_warnings([BYTES_REMAIN])


def index(
    gallery: GalleryPath,
    kind: Annotated[
        str,
        typer.Argument(
            help="auto (ivf, or else what finds enough), ivf (fast), fp16 or pq (small), or none to drop it.",
            metavar="KIND",
        ),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Build a compact search index, and say how much it misses."""
    with open_for_admin(gallery) as opened:
        if kind == "none":
            dropped = opened.remove_index()
            echo(
                as_json,
                {"dropped": dropped, "version": opened.version},
                "the index is dropped" if dropped else "there was no index",
            )
            return
        built = opened.build_index(kind)
    text = (
        f"{built.kind} index of {built.references} references, {built.bytes / 1e6:.1f} MB, finds "
        f"{built.recall:.2%} of the 10 nearest"
    )
    echo(as_json, asdict(built), text)


def encrypt(
    gallery: GalleryPath, output: Annotated[Path, typer.Argument(help="A new file.")], as_json: AsJson = False
) -> None:
    """Write an encrypted copy; the key comes from the file that REID_GALLERY_KEY_FILE names, or from
    REID_GALLERY_KEY.
    """
    from reid.errors import UsageError
    from serving.gallery import KEY_FILE, Gallery, key_from_environment

    found = key_from_environment()
    if found is None:
        raise UsageError(f"there is no key: make one with `reid gallery key FILE` and set {KEY_FILE}=FILE")
    Gallery.encrypt(gallery, output, found)
    echo(
        as_json,
        {"path": str(output)},
        f"encrypted copy written to {output}; delete {gallery} when it is no longer needed",
    )


def key(output: Annotated[Path, typer.Argument(help="A new file.")], as_json: AsJson = False) -> None:
    """Make a key for encrypted galleries. Keep a copy elsewhere: without it they are lost."""
    from serving.gallery import KEY_FILE, write_key

    write_key(output)
    echo(as_json, {"path": str(output)}, f"key written to {output}; use it with {KEY_FILE}={output}")
