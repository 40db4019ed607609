"""The page of many jobs: counts are worked out here, and the sightings lie in it as inert blocks of JSON, of
which the script reads one after the other.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from reid.data.catalog import readable
from reid.pages import write_html
from serving.job.dashboard.sightings import Site, columns_of, gather
from serving.job.report.folders import check_free_page

__all__ = ["write_dashboard"]

_BLOCK = 2000  # sightings: a block is read in less than a frame of the screen
_VISIT_S = 3600.0  # who is away longer has left and comes again
_MOST_RETURNING = 200


def write_dashboard(folders: Sequence[Path], path: Path, zone: str = "UTC") -> tuple[str, ...]:
    """Write the page, private: it says who was where. Returns the lines that a reader must know.

    Args:
        folders: outputs of finished jobs; their crops are shown from there.
        path: of the page.
        zone: of days and hours, as Europe/Berlin.

    Raises:
        UsageError: a folder is no job's output, or no page may be written to ``path``.
        ReidError: a file is damaged, or nobody was seen.
    """
    check_free_page(path)
    site = gather(folders, zone)
    write_html(
        path,
        "serving.job",
        "dashboard.html",
        title=_title(site),
        zone=zone,
        notes=site.notes,
        facts=_facts(site),
        days=_days(site),
        cameras=_cameras(site),
        heat=_heat(site),
        returning=_returning(site),
        most=_MOST_RETURNING,
        names=list(site.cameras),
        every_day=[day for day in sorted(set(site.day.tolist())) if day],
        index={
            "folders": [quote(os.path.relpath(folder, path.parent)) for folder in folders],
            "jobs": _names(folders),
            "cameras": site.cameras,
            "people": site.people,
            "known": site.known.astype(int).tolist(),
            "days": sorted(set(site.day.tolist())),
            "count": len(site.job),
            "zone": zone,
        },
        blocks=[columns_of(site, slice(first, first + _BLOCK)) for first in range(0, len(site.job), _BLOCK)],
    )
    return site.notes


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, whole paths where two have the same."""
    names = [readable(Path(folder.name)) for folder in folders]
    return names if len(set(names)) == len(names) else [readable(folder) for folder in folders]


def _title(site: Site) -> str:
    days = sorted({day for day in site.day.tolist() if day})
    when = "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return ", ".join(filter(None, [f"{len(site.cameras)} cameras", when]))


def _facts(site: Site) -> list[tuple[str, str]]:
    seen = np.bincount(site.person, minlength=len(site.people)) > 0
    values = {
        "sightings": len(site.job),
        "people enrolled": int((seen & site.known).sum()),
        "unknown people": int((seen & ~site.known).sum()),
        "days": len({day for day in site.day.tolist() if day}),
        "jobs": len(site.folders),
    }
    return [(name, f"{value:,}") for name, value in values.items()]


def _distinct(
    site: Site, group: npt.NDArray[Any], rows: npt.NDArray[np.bool_]
) -> dict[Any, tuple[int, int, int]]:
    """Enrolled people, unknown people and sightings in each group."""
    values, code = np.unique(group[rows], return_inverse=True)
    person = site.person[rows]
    pairs = np.unique(np.stack([code, person], axis=1), axis=0)
    known = site.known[pairs[:, 1]]
    counts = np.bincount(code, minlength=len(values))
    named = np.bincount(pairs[known, 0], minlength=len(values))
    strange = np.bincount(pairs[~known, 0], minlength=len(values))
    return {
        value: (int(named[i]), int(strange[i]), int(counts[i])) for i, value in enumerate(values.tolist())
    }


def _bars(groups: dict[str, tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Rows with bars, as wide as their share of the longest."""
    longest = max((known + strange for known, strange, _ in groups.values()), default=1) or 1
    return [
        {
            "name": name,
            "known": known,
            "unknown": strange,
            "sightings": f"{count:,}",
            "people": f"{known + strange:,}",
            "wide": (f"{100 * known / longest:.2f}", f"{100 * strange / longest:.2f}"),
        }
        for name, (known, strange, count) in groups.items()
    ]


def _days(site: Site) -> list[dict[str, Any]]:
    return _bars(_distinct(site, site.day, site.timed))


def _cameras(site: Site) -> list[dict[str, Any]]:
    found = _distinct(site, site.camera, np.ones(len(site.job), bool))
    return _bars({site.cameras[number]: counts for number, counts in found.items()})


def _heat(site: Site) -> list[dict[str, Any]]:
    """Sightings by camera and hour of the day, and how dark each cell is, 0 to 1."""
    timed = site.timed
    counts = np.zeros((len(site.cameras), 24), np.int64)
    np.add.at(counts, (site.camera[timed], site.hour[timed]), 1)
    most = max(int(counts.max()), 1)
    return [
        {"camera": camera, "cells": [(int(one), f"{(one / most) ** 0.5:.2f}") for one in row]}
        for camera, row in zip(site.cameras, counts, strict=True)
    ]


def _returning(site: Site) -> list[dict[str, Any]]:
    """Unknown people who came more than once, the most frequent first."""
    rows = np.flatnonzero(site.timed & ~site.known[site.person])
    order = rows[np.lexsort((site.start[rows], site.person[rows]))]
    person, start = site.person[order], site.start[order]
    end = start + site.length[order]
    found = []
    edges = np.flatnonzero(np.diff(person)) + 1
    for part in np.split(np.arange(len(order)), edges):
        if len(part) < 2:
            continue
        # somebody may be in two cameras at once: away is who is in none
        gaps = start[part][1:] - np.maximum.accumulate(end[part])[:-1]
        visits = 1 + int((gaps > _VISIT_S).sum())
        if visits > 1:
            days = sorted(set(site.day[order[part]].tolist()))
            cameras = sorted({site.cameras[one] for one in site.camera[order[part]].tolist()})
            name = site.people[person[part[0]]]
            found.append(
                {
                    "name": name,
                    "person": int(person[part[0]]),
                    "visits": visits,
                    "days": len(days),
                    "sightings": len(part),
                    "cameras": ", ".join(cameras),
                    "first": days[0],
                    "last": days[-1],
                }
            )
    return sorted(found, key=lambda one: (-one["days"], -one["visits"], one["name"]))
