"""How right the names of sightings are, against the identities of true boxes."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from reid.errors import ReidError
from reid.files import read_text
from reid.mot import MotTable
from serving.gallery import UNKNOWN
from serving.overlap import box_iou

__all__ = [
    "IOU",
    "NameAccuracy",
    "first_right_names",
    "name_sightings",
    "plain",
    "read_people",
    "true_identities",
]

IOU = 0.5


@dataclass(frozen=True, slots=True)
class NameAccuracy:
    """Sightings by how they were named. ``no_truth`` are sightings that match no true box: false
    detections.
    """

    right: int
    wrong: int
    unknown: int  # somebody enrolled, called unknown
    no_truth: int
    named: int = field(default=0, compare=False)  # sightings of true people that have a name at all

    @property
    def sightings(self) -> int:
        """Sightings that show somebody who is in the truth."""
        return self.right + self.wrong + self.unknown

    def shares(self) -> dict[str, float]:
        """Shares of the sightings of true people; 0 where there is none."""
        total = max(self.sightings, 1)
        return {
            "named_right": self.right / total,
            "named_wrong": self.wrong / total,
            "named_unknown": self.unknown / total,
        }


def true_identities(truth: MotTable, found: MotTable, people: dict[str, str]) -> dict[int, str | None]:
    """Who each tracklet really is: whom most of its boxes match one to one at IoU >= 0.5; None when no box
    does.

    ``people`` says who a truth id is, where that is not its own name.
    """
    who = {plain(track): plain(person) for track, person in people.items()}
    votes: dict[int, Counter[str]] = {int(one): Counter() for one in np.unique(found.id)}
    true_frames = truth.by_frame()
    for number, seen in found.by_frame().items():
        there = true_frames.get(number)
        if there is None:
            continue
        overlap = box_iou(there.xyxy.astype(np.float64), seen.xyxy.astype(np.float64))
        for i, j in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[i, j] >= IOU:
                track = plain(str(there.id[i]))
                votes[int(seen.id[j])][who.get(track, track)] += 1
    # Equal votes go to the smaller name, so that the same input has the same score.
    return {
        one: (min(count, key=lambda name: (-count[name], name)) if count else None)
        for one, count in votes.items()
    }


def first_right_names(
    truth: MotTable,
    found: MotTable,
    true: dict[int, str | None],
    named: dict[int, str],
    people: dict[str, str],
) -> list[int]:
    """For each person with a right name: frames from the first true box to the first box of a sighting that
    has the name.
    """
    who = {plain(track): plain(person) for track, person in people.items()}
    seen = np.asarray([who.get(plain(str(one)), plain(str(one))) for one in truth.id.tolist()], np.str_)
    right = {
        number
        for number, person in true.items()
        if person is not None and plain(named.get(number, UNKNOWN)) == person
    }
    first: dict[str, int] = {}
    for number in sorted(right):
        person = str(true[number])
        first[person] = min(first.get(person, 2**62), int(found.frame[found.id == number].min()))
    return [max(first[person] - int(truth.frame[seen == person].min()), 0) for person in sorted(first)]


def name_sightings(
    true: dict[int, str | None], named: dict[int, str], enrolled: frozenset[str]
) -> NameAccuracy:
    """Compare the names of sightings with who they are."""
    known = {plain(name) for name in enrolled}
    counts = Counter[str]()
    for tracklet, who in true.items():
        name = named.get(tracklet, UNKNOWN)
        if who is None:
            counts["no_truth"] += 1
        elif name == UNKNOWN:
            counts["unknown" if who in known else "right"] += 1
        else:
            counts["right" if plain(name) == who else "wrong"] += 1
            counts["named"] += 1
    return NameAccuracy(*(counts[key] for key in ("right", "wrong", "unknown", "no_truth", "named")))


def read_people(path: Path | str) -> dict[str, str]:
    """Read who is who: lines ``truth id,person``; empty lines and lines that begin with # do not count.

    Raises:
        UsageError: the file does not exist.
        ReidError: a line is not two values, or an id is given twice.
    """
    people: dict[str, str] = {}
    for number, line in enumerate(read_text(path, "people file").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        track, mark, person = (part.strip() for part in line.partition(","))
        if not (mark and track and person) or track in people:
            raise ReidError(f"people file {path}, line {number}: want 'truth id,person', each id once")
        people[track] = person
    return people


def plain(name: str) -> str:
    """A name without leading zeros: truth writes 7 where a gallery writes 0007."""
    return name.lstrip("0") or "0"
