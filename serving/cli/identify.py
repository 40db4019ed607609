"""The commands that compare images: with a gallery, or two with each other."""

from collections.abc import Callable
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.shared import (
    INCOMPLETE,
    AsJson,
    Backend,
    GalleryPath,
    Model,
    Threads,
    echo,
    finite,
    print_warnings,
    table,
)

if TYPE_CHECKING:
    from reid.images import Image
    from serving.embedding import FileEmbeddings
    from serving.runtime import Embedder

__all__ = ["compare", "identify"]

Threshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=2,
        callback=finite,
        help="Largest distance that is accepted; the model's calibrated one if not given.",
    ),
]
RatioTest = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=1,
        callback=finite,
        help="A name needs to be nearer than this share of the runner-up's distance; 1: off.",
    ),
]


def identify(
    gallery: GalleryPath,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    model: Model,
    policy: Annotated[
        str, typer.Option(help="How a person's references are combined: min, mean or top_k.")
    ] = "min",
    top_k: Annotated[int, typer.Option(min=1, help="How many references top_k takes.")] = 3,
    threshold: Threshold = None,
    tracklet: Annotated[
        bool,
        typer.Option("--tracklet", help="All images show one person: pool them, weighted by their quality."),
    ] = False,
    ratio_test: RatioTest = 0.95,
    rescore: Annotated[
        bool,
        typer.Option("--rescore", help="Let the model's learned metric decide between those near enough."),
    ] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="Search through the index that `reid gallery index` built.")
    ] = False,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Who is this: name each image, or say unknown, with the distance to the nearest person and to the
    second.
    """
    from reid.errors import UsageError
    from serving.embedding.table import collect_images
    from serving.gallery import Gallery, key_from_environment
    from serving.matching import calibrated_threshold, decide, drop_near_ties
    from serving.matching import identify as match
    from serving.runtime import load

    if compact and (policy != "min" or rescore):
        raise UsageError(
            "--compact looks at nearest references alone: use it with policy min and without --rescore"
        )
    embedder = load(model, backend, threads)
    limit = (
        calibrated_threshold(embedder.card, policy, "tracklet" if tracklet else "image", top_k)
        if threshold is None
        else threshold
    )
    paths = collect_images(images, lambda line: print_warnings([line]))
    found = _embed(embedder, paths, threads, _quality if tracklet else None)
    names = [str(path) for path in found.paths]
    probes = found.embeddings
    if tracklet:
        names, probes = [f"{len(names)} images"], _pooled(found)
    with Gallery.open(
        gallery, embedder.fingerprint, create=False, key=key_from_environment(), read_only=True
    ) as opened:
        version = opened.version
        if compact:
            found_people = [decide(near, limit) for near in opened.compact_index().search(probes, 2)]
        elif rescore:
            from serving.matching import identify_rescored, open_pair_scorer

            found_people = identify_rescored(probes, opened, limit, open_pair_scorer(model), policy, top_k)
        else:
            found_people = match(probes, opened, limit, policy, top_k)
    # As in a camera job: the learned metric has decided between those who are nearly as near.
    decided = found_people if rescore else drop_near_ties(found_people, ratio_test)
    matches = [{"image": name} | _plain(asdict(one)) for name, one in zip(names, decided, strict=True)]
    value = {
        "version": version,
        "policy": policy,
        "threshold": limit,
        "ratio_test": ratio_test,
        "matches": matches,
    }
    if as_json:
        echo(True, value | {"unreadable": [str(one.path) for one in found.unreadable]}, "")
    else:
        head = ("image", "identity", "distance", "second", "its distance", "margin")
        table(head, [_cells(row) for row in matches])
    print_warnings(one.reason for one in found.unreadable)
    if found.unreadable:
        raise typer.Exit(INCOMPLETE)


def compare(
    first: Annotated[Path, typer.Argument(help="An image.")],
    second: Annotated[Path, typer.Argument(help="Another image.")],
    model: Model,
    threshold: Threshold = None,
    backend: Backend = "auto",
    as_json: AsJson = False,
) -> None:
    """Whether two images show one person; needs no gallery."""
    from serving.matching import calibrated_threshold, verify_pair
    from serving.runtime import load

    embedder = load(model, backend)
    limit = calibrated_threshold(embedder.card, "min", "image") if threshold is None else threshold
    found = _embed(embedder, [first, second], None)
    if found.unreadable:
        from reid.errors import ReidError

        raise ReidError(found.unreadable[0].reason)
    pair = verify_pair(found.embeddings[0], found.embeddings[1], limit)
    echo(
        as_json,
        asdict(pair),
        (
            f"{'the same person' if pair.same else 'different people'}: distance {pair.distance:.3f}, "
            f"limit {limit:.3f}"
        ),
    )


def _embed(
    embedder: "Embedder",
    paths: list[Path],
    threads: int | None,
    measure: "Callable[[Image], float] | None" = None,
) -> "FileEmbeddings":
    from reid.errors import ReidError
    from serving.embedding import embed_files

    found = embed_files(embedder, paths, threads=threads, measure=measure)
    if not found.paths:
        raise ReidError(
            f"not one of {len(paths)} images can be read; the first: {found.unreadable[0].reason}"
        )
    return found


def _quality(image: "Image") -> float:
    """Of a picture that is one person's crop as a whole."""
    import numpy as np

    from serving.tracking import crop_quality

    height, width = image.shape[:2]
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    return float(crop_quality(bgr, np.asarray([[0, 0, width, height]], np.float32))[0])


def _pooled(found: "FileEmbeddings") -> Any:
    from reid.embeddings import pool

    # Images without any detail have no quality: they count alike then.
    return pool(found.embeddings, found.measured if found.measured.any() else None)[None]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: nobody is at distance null."""
    return {
        key: None if isinstance(value, float) and not isfinite(value) else value for key, value in row.items()
    }


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    numbers = [row[key] for key in ("distance", "runner_up_distance", "margin")]
    distance, second, margin = ("" if number is None else f"{number:.3f}" for number in numbers)
    return row["image"], row["identity"], distance, row["runner_up"] or "", second, margin
