"""The timeline: a lane for each person in a camera, a bar for each sighting.

A bar has its start and end in seconds as CSS numbers, and the timeline the stretch that it shows: the browser
works out the places. So the page's script zooms by changing two numbers, however many bars there are.
"""

from collections.abc import Sequence

from serving.job.report.axis import Axis
from serving.job.report.sighting import Sighting, people

__all__ = ["lanes", "marks"]

_MARKS = 5


def lanes(sightings: Sequence[Sighting]) -> list[tuple[str, str, list[Sighting]]]:
    """Person, camera and sightings of each lane, in the order shown."""
    found: dict[tuple[str, str], list[Sighting]] = {}
    for one in sightings:
        found.setdefault((one.person, one.row["camera"]), []).append(one)
    order = {name: index for index, name in enumerate(people(sightings))}
    return [
        (name, camera, sorted(found[name, camera], key=lambda one: one.row["start_s"]))
        for name, camera in sorted(found, key=lambda lane: (order[lane[0]], lane[1]))
    ]


def marks(axis: Axis) -> list[str]:
    """The texts below the lanes, evenly from the axis' begin to its end."""
    return [axis.text(axis.first + (axis.last - axis.first) * step / (_MARKS - 1)) for step in range(_MARKS)]
