"""Any folder of images whose file names tell the identity and the camera."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reid.data.catalog import Record, readable
from reid.data.datasets.files import Stray, compile_pattern, find_images
from reid.errors import ReidError, UsageError

__all__ = ["FolderScan", "read_folder", "scan_folder"]


@dataclass(frozen=True)
class FolderScan:
    """What a folder holds: images with their labels, files left out, and how many others there are by
    suffix.
    """

    records: list[Record]
    strays: list[Stray]
    others: Counter[str]

    def unmatched(self) -> str | None:
        """A line on images whose path does not match the pattern, None where all do."""
        lost = [stray.path for stray in self.strays if stray.kind == "unmatched"]
        if not lost:
            return None
        images = len(self.records) + len(lost)
        return f"{len(lost):,} of {images:,} images do not match the pattern, the first: {readable(lost[0])}"


def read_folder(root: Path, pattern: str, split: str = "train") -> list[Record]:
    """The records of :func:`scan_folder` alone."""
    return scan_folder(root, pattern, split).records


def scan_folder(root: Path, pattern: str, split: str = "train") -> FolderScan:
    """One record for each image below ``root`` whose relative path matches ``pattern``, sorted by path;
    linked folders are followed.

    Args:
        root: the folder, searched recursively.
        pattern: a regular expression with the groups ``identity`` and, where the set has them, ``camera``;
            searched in the path relative to ``root`` with forward slashes.
        split: the split of every record; people are split later.

    Raises:
        UsageError: the folder is missing, or the pattern is not a regular expression with a group
            ``identity``.
        ReidError: no image below ``root`` matches, or a folder cannot be read.
    """
    if not root.is_dir():
        raise UsageError(
            f"data folder {root} does not exist: set data.root (or --root) to a folder of images"
        )
    compiled = compile_pattern(pattern)
    content = find_images(root)
    records, strays = [], list(content.strays)
    for path in content.images:
        # A name that is not UTF-8 is matched in the form in which it is shown: identities are text.
        match = compiled.search(readable(path.relative_to(root).as_posix()))
        groups = match.groupdict() if match is not None else {}
        if groups.get("identity"):
            records.append(Record(path, groups["identity"], groups.get("camera") or "1", split))
        else:
            strays.append(Stray("unmatched", path, f"the pattern is {pattern}"))
    if not records:
        files = content.images
        found = (
            f"the first of its {len(files)} images is {readable(files[0].relative_to(root))}"
            if files
            else "it holds no image"
        )
        raise ReidError(f"no image in {root} matches the pattern {pattern!r}: {found}")
    return FolderScan(records, strays, content.others)
