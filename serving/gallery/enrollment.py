"""From images of people to enrolled people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.data.catalog import readable
from reid.errors import ReidError
from serving.embedding import Unreadable, embed_files
from serving.gallery.checks import check_name
from serving.gallery.conflicts import Conflict, describe, find_conflicts
from serving.gallery.gallery import Gallery
from serving.runtime import Embedder

__all__ = ["EnrollReport", "Sample", "enroll_samples"]


@dataclass(frozen=True, slots=True)
class Sample:
    """An image of a known person."""

    path: Path
    identity: str
    camera: str = ""


@dataclass(frozen=True, slots=True)
class EnrollReport:
    """What an enrolment did."""

    enrolled: dict[str, int]  # new references of each person
    already: int  # images that were in the gallery before, by person and file name
    unreadable: tuple[Unreadable, ...]
    conflicts: tuple[Conflict, ...]  # references that are there twice, or show somebody else as well
    warnings: tuple[str, ...]  # what to say of them
    version: int


def enroll_samples(
    gallery: Gallery,
    embedder: Embedder,
    samples: Sequence[Sample],
    *,
    lookalike_distance: float | None = None,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> EnrollReport:
    """Embed images and enroll them, one transaction a person; what is there already (person and file name) is
    left out.

    Args:
        gallery: opened with the embedder's fingerprint.
        embedder: from :func:`serving.runtime.load`.
        samples: from :func:`find_samples`.
        lookalike_distance: up to which two are taken for one person when new references are compared with
            those of others; None: only the same picture is pointed out.
        threads: of :func:`serving.embedding.embed_files`.
        on_progress: called with (done, all) images.

    Raises:
        ReidError: not one image can be read, or the gallery cannot be written.
    """
    known = {
        person.identity: {reference.source for reference in gallery.show(person.identity)}
        for person in gallery.people()
    }
    fresh = [
        sample
        for sample in samples
        if readable(sample.path) not in known.get(check_name(sample.identity), ())
    ]
    result = embed_files(
        embedder, [sample.path for sample in fresh], threads=threads, on_progress=on_progress
    )
    if fresh and not result.paths:
        raise ReidError(
            f"not one of {len(fresh)} images can be read; the first: {result.unreadable[0].reason}"
        )
    rows: dict[str, list[int]] = {}
    for row, position in enumerate(result.index):
        rows.setdefault(check_name(fresh[int(position)].identity), []).append(row)
    embedded = [fresh[int(position)] for position in result.index]
    names = [check_name(one.identity) for one in embedded]
    conflicts = find_conflicts(
        gallery, names, result.embeddings, [readable(one.path) for one in embedded], lookalike_distance
    )
    for identity, own in rows.items():
        mine = [embedded[row] for row in own]
        gallery.enroll(
            identity,
            result.embeddings[own],
            source=[readable(one.path) for one in mine],
            camera=[one.camera for one in mine],
        )
    counts = {identity: len(own) for identity, own in rows.items()}
    warnings = describe(conflicts, names, frozenset(known))
    return EnrollReport(
        counts,
        len(samples) - len(fresh),
        result.unreadable,
        tuple(conflicts),
        tuple(warnings),
        gallery.version,
    )
