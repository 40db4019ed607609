"""Nobody is at two places at once: not twice in one picture, nor where two cameras show two places."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from serving.gallery import UNKNOWN
from serving.job.sightings.sightings import Sighting
from serving.matching import Match

__all__ = ["HANDOVER_S", "resolve_simultaneous", "together_s"]

HANDOVER_S = 0.5
"""Longer than one tracklet of a person lives on after the next has begun."""


def resolve_simultaneous(
    sightings: Sequence[Sighting],
    matches: Sequence[Match],
    people: Sequence[Sequence[int]] | None = None,
    elsewhere: Callable[[int, int], bool] | None = None,
) -> list[Match]:
    """Take a name back where a nearer one has it at the same time in the same camera, or at another place.

    Who loses is unknown and not the runner-up: that somebody looks most like a person who stands elsewhere
    says little about the second best. The distances stay as they were.

    Args:
        sightings: of all cameras.
        matches: of each person.
        people: the indices of the sightings of each; one sighting each where None.
        elsewhere: whether two sightings of different cameras, by their indices, cannot be one person; nobody
            knows where None.
    """
    of = [[at] for at in range(len(matches))] if people is None else people
    decided = list(matches)
    holders: dict[str, list[int]] = {}
    for index in sorted(range(len(decided)), key=lambda one: (decided[one].distance, one)):
        name = decided[index].identity
        if name == UNKNOWN:
            continue
        held = holders.setdefault(name, [])
        if any(_apart(at, one, sightings, elsewhere) for at in of[index] for one in held):
            decided[index] = replace(decided[index], identity=UNKNOWN)
        else:
            held += of[index]
    return decided


def _apart(
    i: int, j: int, sightings: Sequence[Sighting], elsewhere: Callable[[int, int], bool] | None
) -> bool:
    one, other = sightings[i], sightings[j]
    if one.camera == other.camera:
        return together_s(one, other) > HANDOVER_S
    return elsewhere is not None and elsewhere(i, j)


def together_s(one: Sighting, other: Sighting) -> float:
    """For how many seconds two sightings of a camera are there at once; pauses do not count."""
    pairs = ((a.row, b.row) for a in one.members for b in other.members)
    return sum(max(0.0, min(a["last_s"], b["last_s"]) - max(a["first_s"], b["first_s"])) for a, b in pairs)
