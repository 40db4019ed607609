"""Images of people to enroll, found in folders and catalogs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.data.catalog import DISTRACTOR, JUNK, read_catalog, readable
from reid.data.datasets.files import IMAGE_SUFFIXES, compile_pattern, find_images
from reid.errors import ReidError, UsageError
from reid.files import existing
from serving.gallery.checks import check_name
from serving.gallery.enrollment import Sample

__all__ = ["DEFAULT_PATTERN", "Samples", "find_samples"]

DEFAULT_PATTERN = "^(?P<identity>[^_]+)_"
_NOBODY = {JUNK: "junk", DISTRACTOR: "somebody unknown; for one person of that number, use another"}


@dataclass(frozen=True, slots=True)
class Samples:
    """What a source holds. ``skipped`` are images whose name tells no person, ``notes`` say what else was
    left out.
    """

    samples: tuple[Sample, ...]
    skipped: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def find_samples(source: Path | str, pattern: str | None = None, split: str = "gallery") -> Samples:
    """The images of a source and whom they show, sorted by person; folders are read as `reid.data` reads
    them.

    Linked folders are followed, files of systems and downloads passed over. Junk (-1) and distractors (0000)
    are no people that anybody knows: they are left out.

    Args:
        source: a catalog (``.parquet``), a folder of images whose names tell the person, or a folder with one
            folder a person.
        pattern: regular expression with the group ``identity`` and, where names tell it, ``camera``; matched
            against the path below the folder. None takes the text before the first underscore, or the
            folder's name where each person has one.
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
