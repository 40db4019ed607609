"""Any folder of images whose file names tell the identity and the camera."""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import IMAGE_SUFFIXES
from reid.errors import ReidError, UsageError

__all__ = ["read_folder"]


def read_folder(root: Path, pattern: str, split: str = "train") -> list[Record]:
    """One record for each image below ``root`` whose relative path matches ``pattern``, sorted by path.

    Args:
        root: the folder, searched recursively.
        pattern: a regular expression with the groups ``identity`` and, where the set has them, ``camera``; searched in the
            path relative to ``root`` with forward slashes.
        split: the split of every record; people are split later.

    Raises:
        UsageError: the folder is missing, or the pattern is not a regular expression with a group ``identity``.
        ReidError: no image below ``root`` matches.
    """
    if not root.is_dir():
        raise UsageError(f"data folder {root} does not exist: set data.root (or --root) to a folder of images")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    if "identity" not in compiled.groupindex:
        raise UsageError(f"pattern {pattern!r} has no group (?P<identity>...): name the part of the path that tells the person")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    records = []
    for path in files:
        match = compiled.search(path.relative_to(root).as_posix())
        if match is not None:
            groups = match.groupdict()
            records.append(Record(path, groups["identity"], groups.get("camera") or "1", split))
    if not records:
        found = f"the first of its {len(files)} images is {files[0].relative_to(root)}" if files else "it holds no image"
        raise ReidError(f"no image in {root} matches the pattern {pattern!r}: {found}")
    return records
