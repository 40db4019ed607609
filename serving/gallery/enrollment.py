"""From folders and catalogs of images to enrolled people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.data.catalog import DISTRACTOR, JUNK, read_catalog, readable
from reid.data.datasets.files import IMAGE_SUFFIXES, compile_pattern, find_images
from reid.errors import ReidError, UsageError
from reid.files import existing
from serving.embedding import Unreadable, embed_files
from serving.gallery.checks import check_name
from serving.gallery.conflicts import Conflict, describe, find_conflicts
from serving.gallery.gallery import Gallery
from serving.runtime import Embedder

__all__ = ["DEFAULT_PATTERN", "EnrollReport", "Sample", "Samples", "enroll_samples", "find_samples"]

DEFAULT_PATTERN = "^(?P<identity>[^_]+)_"
_NOBODY = {JUNK: "junk", DISTRACTOR: "somebody unknown; for one person of that number, use another"}


@dataclass(frozen=True, slots=True)
class Sample:
    """An image of a known person."""

    path: Path
    identity: str
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Samples:
    """What a source holds. ``skipped`` are images whose name tells no person, ``notes`` say what else was
    left out.
    """

    samples: tuple[Sample, ...]
    skipped: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnrollReport:
    """What an enrolment did."""

    enrolled: dict[str, int]  # new references of each person
    already: int  # images that were in the gallery before, by person and file name
    unreadable: tuple[Unreadable, ...]
    conflicts: tuple[Conflict, ...]  # references that are there twice, or show somebody else as well
    warnings: tuple[str, ...]  # what to say of them
    version: int


def find_samples(source: Path | str, pattern: str | None = None, split: str = "gallery") -> Samples:
    """The images of a source and whom they show, sorted by person; folders are read as `reid.data` reads
    them.

    Linked folders are followed, files of systems and downloads passed over. Junk (-1) and distractors (0000)
    are no people that anybody knows: they are left out.

    Args:
        source: a catalog (``.parquet``), a folder of images whose names tell the person, or a folder with one
            folder a person.
        pattern: regular expression with the group ``identity`` and, where names tell it, ``camera``; matched
            against the path below
            the folder. None takes the text before the first underscore, or the folder's name where each
                person has one.
        split: the rows of a catalog.

    Raises:
        UsageError: the source does not exist, or the pattern is no regular expression or lacks its group.
        ReidError: no image is found, none matches, or a name cannot be enrolled.
    """
    source = existing(source, "source")
    if source.suffix == ".parquet":
        found = _from_catalog(source, split)
    elif not source.is_dir():
        raise UsageError(
            f"source {source} is a file: name a folder of images or a catalog ending in .parquet"
        )
    else:
        found = _from_folder(source, pattern)
    known = [sample for sample in found.samples if sample.identity not in _NOBODY]
    notes = [*found.notes, *_nobody(found.samples)]
    if not known:
        raise ReidError(f"source {source} shows nobody who can be enrolled: {'; '.join(notes)}")
    ordered = sorted(known, key=lambda sample: (sample.identity, sample.path))
    for identity in {sample.identity: None for sample in ordered}:
        check_name(identity)
    return Samples(tuple(ordered), found.skipped, tuple(notes))


def _nobody(samples: Sequence[Sample]) -> list[str]:
    counts = {identity: sum(sample.identity == identity for sample in samples) for identity in _NOBODY}
    return [
        f"{n:,} image{'s' * (n > 1)} left out: identity {one} is {_NOBODY[one]}"
        for one, n in counts.items()
        if n
    ]


def _from_catalog(path: Path, split: str) -> Samples:
    catalog = read_catalog(path).split(split)
    rows = zip(catalog.paths, catalog.identities, catalog.cameras, strict=True)
    samples = tuple(Sample(image, str(identity), str(camera)) for image, identity, camera in rows)
    if not samples:
        raise ReidError(f"catalog {path} has nobody in split {split!r}: choose another with --split")
    return Samples(samples)


def _from_folder(folder: Path, pattern: str | None) -> Samples:
    content = find_images(folder)
    files, by_system = content.images, content.by_system()
    notes = () if by_system is None else (by_system,)
    if not files:
        raise ReidError(
            f"folder {folder} holds no image: want files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if pattern is None and all(path.parent != folder for path in files):
        return Samples(
            tuple(Sample(path, _shown(path, folder).partition("/")[0]) for path in files), notes=notes
        )
    compiled = compile_pattern(pattern or DEFAULT_PATTERN)
    samples, skipped = [], []
    for path in files:
        match = compiled.search(_shown(path, folder))
        groups = match.groupdict() if match else {}
        if groups.get("identity"):
            samples.append(Sample(path, groups["identity"], groups.get("camera") or ""))
        else:
            skipped.append(path)
    if not samples:
        first = readable(files[0].name)
        raise ReidError(
            f"no image in {folder} matches {compiled.pattern!r} (the first is {first}): give another "
            "--pattern"
        )
    return Samples(tuple(samples), tuple(skipped), notes)


def _shown(path: Path, folder: Path) -> str:
    """A path below the folder, as text also where a name is not UTF-8: names of people are text."""
    return readable(path.relative_to(folder).as_posix())


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
            those of others; None:
            only the same picture is pointed out.
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
