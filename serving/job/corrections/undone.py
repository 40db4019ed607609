"""What naming people anew undoes of the corrections that were made by hand."""

from dataclasses import dataclass
from pathlib import Path

from reid.errors import ReidError
from serving.job.corrections.plan import names_of
from serving.job.layout import NAMED, JobFolder, open_job
from serving.job.record import ByHandRecord

__all__ = ["ByHand", "made_by_hand", "undone"]

_SHOWN = 5  # sightings in a line


@dataclass(frozen=True)
class ByHand:
    """Who each sighting (``camera:tracklet``) of an output showed, and which of them people corrected."""

    people: dict[str, str]
    corrected: frozenset[str]


def made_by_hand(folder: Path) -> ByHand | None:
    """What people corrected in an output; None where they did not, or where nobody can tell."""
    if not JobFolder(folder).record.is_file():
        return None
    try:
        corrections = open_job(folder, ByHandRecord).record.corrections
        people = _people(folder) if corrections.applied else {}
    except ReidError:  # damaged, or of another version: it is written anew
        return None
    return ByHand(people, frozenset(corrections.sightings)) if corrections.applied else None


def undone(before: ByHand | None, folder: Path) -> tuple[str, ...]:
    """A line about the corrections that the output, written anew, does not have any more; none where it has
    all of them, which is so where the gallery learned them.
    """
    if before is None:
        return ()
    lost = [
        f"{one} ({before.people[one]})" if one in before.people else f"{one} (not a person)"
        for one, who in _people(folder).items()
        if (one in before.corrected or one not in before.people) and before.people.get(one) != who
    ]
    if not lost:
        return ()
    more = ", ..." if len(lost) > _SHOWN else ""
    return (
        f"people were named anew; corrections that the gallery has not learned are undone, of {len(lost)} "
        f"sighting{'s' * (len(lost) != 1)}: {', '.join(lost[:_SHOWN])}{more}: correct them in the new report",
    )


def _people(folder: Path) -> dict[str, str]:
    rows = JobFolder(folder).read_sightings(NAMED).to_pylist()
    return {":".join(map(str, key)): name for key, name in names_of(rows).items()}
