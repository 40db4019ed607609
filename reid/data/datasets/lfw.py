"""LFW (Huang et al. 2007): pairs of faces to verify, in ten folds; there is nothing to train on and no
camera.
"""

from dataclasses import dataclass
from pathlib import Path

from reid.data.datasets.layout import inside, require
from reid.errors import ReidError

__all__ = ["VerificationPair", "read_lfw_pairs"]


@dataclass(frozen=True, slots=True)
class VerificationPair:
    """Two images, whether they show one person, and the fold (from 0) the pair belongs to."""

    first: Path
    second: Path
    same: bool
    fold: int


def read_lfw_pairs(root: Path) -> list[VerificationPair]:
    """The pairs of ``pairs.txt`` (view 2: 10 folds of 300 matched and 300 mismatched pairs), in its order.

    Raises:
        UsageError: ``pairs.txt`` is missing.
        ReidError: a line is not of the set's form, there are too few, or an image does not exist.
    """
    (listing,) = require(root, "LFW", "pairs.txt")
    images = inside(root, "lfw", "lfw-deepfunneled", "lfw_funneled")
    lines = [line.split("\t") for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        folds, each = (int(number) for number in lines[0])
    except (IndexError, ValueError) as error:
        raise ReidError(
            f"{listing} does not begin with the numbers of folds and pairs, as in '10 300': get it again"
        ) from error
    if len(lines) != 1 + 2 * folds * each:
        raise ReidError(
            f"{listing} has {len(lines) - 1} pairs, but promises {folds} x 2 x {each}: get it again"
        )
    pairs = []
    for number, line in enumerate(lines[1:]):
        same = number // each % 2 == 0
        if len(line) != (3 if same else 4):
            raise ReidError(
                f"{listing} line {number + 2} has {len(line)} columns, want {3 if same else 4}: get it again"
            )
        one, two = (
            ((line[0], line[1]), (line[0], line[2])) if same else ((line[0], line[1]), (line[2], line[3]))
        )
        paths = [images / name / f"{name}_{int(image):04d}.jpg" for name, image in (one, two)]
        for path in paths:
            if not path.exists():
                raise ReidError(
                    f"{listing} line {number + 2} names {path}, which does not exist: unpack LFW again"
                )
        pairs.append(VerificationPair(paths[0], paths[1], same, number // (2 * each)))
    return pairs
