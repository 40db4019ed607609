"""What lies in a folder of images: the images, what a system or a download left there, and how many other
files. Torch-free.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reid.data.catalog import readable
from reid.errors import ReidError, UsageError

__all__ = [
    "IMAGE_SUFFIXES",
    "FolderContent",
    "Stray",
    "compile_pattern",
    "find_images",
    "is_by_system",
    "walk",
]

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".webp",
        ".tif",
        ".tiff",
        ".gif",
        ".jp2",
        ".avif",
        ".heic",
        ".heif",
    ],
)
_PARTIAL = frozenset([".part", ".partial", ".filepart", ".crdownload", ".download", ".aria2", ".!ut"])
_SYSTEM = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"})
_SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", ".appledouble", ".thumbnails"})


@dataclass(frozen=True, slots=True)
class Stray:
    """A file that becomes no record: ``kind`` of `reid.data.findings.KINDS`, and the rest of the sentence."""

    kind: str
    path: Path
    detail: str


@dataclass
class FolderContent:
    """``others`` counts the files that are no images by their names, by suffix."""

    images: list[Path] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def by_system(self) -> str | None:
        """A line on what a system or a download left, None where nothing is."""
        left = [stray for stray in self.strays if stray.kind == "by_system"]
        if not left:
            return None
        count = f"{len(left):,} file{'s' * (len(left) > 1)} of a system or a download"
        return f"{count} left out, the first: {readable(left[0].path)}: {left[0].detail}"


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression with the group ``identity``.

    Raises:
        UsageError: it is not.
    """
    try:
        with warnings.catch_warnings():
            # Of "[[", whose meaning may change: in Python's words.
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    if "identity" not in compiled.groupindex:
        raise UsageError(
            f"pattern {pattern!r} has no group (?P<identity>...): name the part that tells the person"
        )
    return compiled


def find_images(root: Path) -> FolderContent:
    """All files below ``root``, sorted by path; see :func:`walk`."""
    found = FolderContent()
    odd: list[Path] = []
    for path in walk(root, odd):
        reason = is_by_system(path.relative_to(root))
        if reason is not None:
            found.strays.append(Stray("by_system", path, reason))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.images.append(path)
        else:
            found.others[path.suffix.lower() or path.name] += 1
    found.strays += [Stray("by_system", path, "a pipe, a socket or a device") for path in odd]
    return found


def is_by_system(path: Path) -> str | None:
    """What a file is that macOS, Windows, a network disk or a browser left beside the images, by its relative
    path; None for others.
    """
    if path.name.startswith("._"):
        return "macOS's companion of a file: no picture, whatever its ending"
    if path.name.lower() in _SYSTEM:
        return "a file of the system"
    if path.suffix.lower() in _PARTIAL:
        return "a download that has not ended"
    folder = next((part for part in path.parts[:-1] if part.lower() in _SYSTEM_FOLDERS), None)
    return None if folder is None else f"in {folder}, which a system made"


def walk(root: Path, odd: list[Path] | None = None) -> list[Path]:
    """Every file below ``root``, sorted, linked folders included.

    A folder is visited once, under its own place where it has one below ``root``: a link that leads back up,
    or to a folder that is there anyway, adds nothing. A link to a file that is gone is a file, so that
    somebody hears of it. Pipes, sockets and devices are put into ``odd``.

    Raises:
        ReidError: a folder cannot be read.
    """
    visited: set[tuple[int, int]] = set()
    files: list[Path] = []
    waiting = [root]
    while waiting:
        links: list[Path] = []
        for folder in waiting:
            files += _below(folder, visited, links, odd)
        waiting = sorted(links)
    return sorted(files)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _below(
    folder: Path, visited: set[tuple[int, int]], links: list[Path], odd: list[Path] | None
) -> Iterator[Path]:
    """Files below a folder; linked folders are put into ``links``."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ReidError(
            f"folder {folder} cannot be read ({error.strerror}): change its permissions or move it away"
        ) from error
    for entry in entries:
        path = folder / entry.name
        if not _is_folder(entry):
            if entry.is_symlink() or entry.is_file():
                yield path
            elif odd is not None:
                odd.append(path)
        elif entry.is_symlink():
            links.append(path)
        else:
            yield from _below(path, visited, links, odd)
