"""Nobody is twice in one picture: of simultaneous sightings in one camera, one at most has a given name."""

from collections.abc import Sequence
from dataclasses import replace

from serving.gallery import UNKNOWN
from serving.job.sightings.sightings import Sighting
from serving.matching import Match

__all__ = ["resolve_simultaneous", "together_s"]

# Longer than one tracklet of a person lives on after the next has begun.
_HANDOVER_S = 0.5


def resolve_simultaneous(sightings: Sequence[Sighting], matches: Sequence[Match]) -> list[Match]:
    """Take a name back where a nearer sighting of the same camera has it at the same time.

    The sighting that loses is unknown and not its runner-up: that somebody looks most like a person who
    stands elsewhere says little about the second best. Its distances stay as they were.
    """
    decided = list(matches)
    holders: dict[tuple[str, str], list[Sighting]] = {}
    for index in sorted(range(len(decided)), key=lambda one: (decided[one].distance, one)):
        name, one = decided[index].identity, sightings[index]
        if name == UNKNOWN:
            continue
        held = holders.setdefault((one.camera, name), [])
        if any(together_s(one, other) > _HANDOVER_S for other in held):
            decided[index] = replace(decided[index], identity=UNKNOWN)
        else:
            held.append(one)
    return decided


def together_s(one: Sighting, other: Sighting) -> float:
    """For how many seconds two sightings of a camera are there at once; pauses do not count."""
    pairs = ((a.row, b.row) for a in one.members for b in other.members)
    return sum(max(0.0, min(a["last_s"], b["last_s"]) - max(a["first_s"], b["first_s"])) for a, b in pairs)
