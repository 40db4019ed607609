"""What the readers share: folders that must be there, names that must parse, and partitions drawn once and
for all.
"""

import random
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reid.data.catalog import Record
from reid.data.datasets.files import IMAGE_SUFFIXES, is_by_system, walk
from reid.errors import ReidError, UsageError

__all__ = ["images_in", "inside", "parsed", "read_folders", "read_mat", "require", "seeded", "shuffled"]


def inside(root: Path, *names: str) -> Path:
    """The folder a set unpacks to, whether ``root`` is that folder or the one around it."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def require(root: Path, name: str, *parts: str) -> tuple[Path, ...]:
    """``root / part`` for each part.

    Raises:
        UsageError: one of them is missing.
    """
    for part in parts:
        if not (root / part).exists():
            raise UsageError(
                f"{root} is not {name}: {part} is missing; set data.root to the unpacked data set"
            )
    return tuple(root / part for part in parts)


def read_folders(
    root: Path, name: str, folders: Mapping[str, str], pattern: re.Pattern[str], form: str
) -> list[Record]:
    """The images of sets laid out as Market-1501 is: a folder for each split, identity, camera and frame in
    the files' names.

    Args:
        root: the unpacked set.
        name: of the set.
        folders: the split of each folder.
        pattern: with the groups ``identity``, ``camera`` and ``frame``.
        form: how a file's name looks.

    Raises:
        UsageError: ``root`` lacks a folder.
        ReidError: a file's name is not of the set's form, or a folder is empty.
    """
    records = []
    for folder, split in zip(require(root, name, *folders), folders.values(), strict=True):
        for path in images_in(folder):
            match = parsed(pattern, path, form)
            records.append(Record(path, match["identity"], match["camera"], split, frame=int(match["frame"])))
    return records


def images_in(folder: Path, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted by name; what a system or a download left there is passed over (and
    found by ``find_images``).

    Raises:
        ReidError: there is none, or the folder cannot be read.
    """
    found = (
        walk(folder)
        if recursive
        else [path for path in sorted(folder.iterdir()) if path.is_file() or path.is_symlink()]
    )
    files = [
        path
        for path in found
        if path.suffix.lower() in IMAGE_SUFFIXES and is_by_system(path.relative_to(folder)) is None
    ]
    if not files:
        raise ReidError(f"{folder} holds no image: unpack the data set again")
    return files


def parsed(pattern: re.Pattern[str], path: Path, form: str) -> re.Match[str]:
    """What ``pattern`` finds at the start of a file's name.

    Raises:
        ReidError: nothing; ``form`` shows how such a name looks.
    """
    match = pattern.match(path.name)
    if match is None:
        raise ReidError(f"{path}: the name is not of the form {form}: remove or rename the file")
    return match


def read_mat(path: Path, key: str) -> np.ndarray:
    """One variable of a MATLAB file.

    Raises:
        ReidError: the file is not MATLAB's, or lacks the variable.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return np.asarray(loadmat(path)[key])
    except (MatReadError, OSError, ValueError, KeyError) as error:
        raise ReidError(f"{path} is not a MATLAB file with {key!r} ({error}): get it again") from error


def shuffled(count: int, draw: int) -> list[int]:
    """0..count-1 in the order of the ``draw``-th shuffle (from 0) of NumPy's old generator seeded with 0.

    Sets without published partitions are split by it, so that torchreid, after ``numpy.random.seed(0)``,
    draws the same.
    """
    generator = np.random.RandomState(0)
    for _ in range(draw + 1):
        order = np.arange(count)
        generator.shuffle(order)
    return [int(index) for index in order]


def seeded() -> random.Random:
    """Python's generator seeded with 0, for sets whose partitions torchreid draws with it."""
    return random.Random(0)  # noqa: S311 - nothing secret is drawn
