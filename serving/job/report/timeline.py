"""The timeline: a lane for each person in a camera, a bar for each sighting.

A bar has its start and end in seconds as CSS numbers, and the timeline the stretch that it shows: the browser
works out the places. So the page's script zooms by changing two numbers, however many bars there are.
"""

from collections.abc import Sequence
from html import escape

from serving.job.report.axis import Axis, Row, anchor, data, kind, people, person

__all__ = ["timeline"]

_MARKS = 5


def timeline(rows: Sequence[Row], axis: Axis) -> str:
    """The lanes, and the axis below them."""
    lanes: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lanes.setdefault((person(row), row["camera"]), []).append(row)
    order = {name: index for index, name in enumerate(people(rows))}
    parts = []
    for name, camera in sorted(lanes, key=lambda lane: (order[lane[0]], lane[1])):
        bars = "".join(_bar(row, axis) for row in sorted(lanes[name, camera], key=lambda row: row["start_s"]))
        who = f'<span class="who">{escape(name)} <span class="soft">{escape(camera)}</span></span>'
        parts.append(f'<div class="row" data-lane>{who}<div class="lane">{bars}</div></div>')
    marks = [axis.first + (axis.last - axis.first) * step / (_MARKS - 1) for step in range(_MARKS)]
    ends = "".join(f"<span>{axis.text(mark)}</span>" for mark in marks)
    return "".join(parts) + f'<div class="row"><span></span><div class="axis">{ends}</div></div>'


def _bar(row: Row, axis: Axis) -> str:
    start, end = axis.at(row, "start"), axis.at(row, "end")
    label = escape(f"{person(row)}, camera {row['camera']}, {axis.text(start)} to {axis.text(end)}")
    return (
        f'<a class="{kind(row)}" href="#{anchor(row)}" style="--a:{start:.2f};--b:{end:.2f}" '
        f'{data(row, axis)} title="{label}" aria-label="{label}"></a>'
    )
