"""The sightings of many jobs as columns, and who is who over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reid.data.catalog import readable
from reid.errors import ReidError
from serving.gallery import UNKNOWN
from serving.job.layout import open_job
from serving.job.record import CountedRecord
from serving.job.stranger_file import series_of

__all__ = ["Site", "columns_of", "gather"]

_COLUMNS = ("camera", "tracklet", "start_s", "end_s", "start_time", "end_time", "identity", "provisional")
_AHEAD = timedelta(days=1)  # from where on a clock is said to be ahead: zones differ by less


@dataclass(frozen=True, eq=False)
class Site:
    """The N sightings of some jobs in order of time, those without a clock last.

    ``job``, ``camera``, ``person`` (N,): indices into the names; ``start`` and ``length`` in seconds, the
    start since 1970, or of the footage where ``timed`` is False; ``day`` (N,) in words and ``hour`` (N,) in
    the page's zone. ``known`` (P,): whether a person is enrolled. ``notes``: a line for each thing that a
    reader must know.
    """

    folders: tuple[Path, ...]
    cameras: tuple[str, ...]
    people: tuple[str, ...]
    known: npt.NDArray[np.bool_]
    job: npt.NDArray[np.int64]
    camera: npt.NDArray[np.int64]
    person: npt.NDArray[np.int64]
    tracklet: npt.NDArray[np.int64]
    start: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]
    timed: npt.NDArray[np.bool_]
    day: npt.NDArray[np.str_]
    hour: npt.NDArray[np.int64]
    notes: tuple[str, ...]


def gather(folders: Sequence[Path], zone: str = "UTC") -> Site:
    """Read the sightings of finished jobs.

    An enrolled person is the same in all jobs of one gallery, an unknown one in all jobs that number them
    together (``earlier`` in the job): the same name elsewhere is somebody else.

    Args:
        folders: outputs of jobs.
        zone: of days and hours, as Europe/Berlin.

    Raises:
        UsageError: a folder is no job's output.
        ReidError: a file is damaged, or nobody was seen in any job.
    """
    records = [open_job(folder, CountedRecord) for folder in folders]
    tables = [one.files.read_sightings(_COLUMNS) for one in records]
    table = pa.concat_tables(tables)
    if not len(table):
        raise ReidError("nobody was seen in these jobs: there is nothing to show")
    job = np.repeat(np.arange(len(tables)), [len(one) for one in tables])
    galleries = [
        None if one.record.job.gallery is None else str(Path(one.record.job.gallery).resolve())
        for one in records
    ]
    series = [series_of(folder) or f"of job {number}" for number, folder in enumerate(folders)]
    timed = np.asarray(table["start_time"].is_valid())
    start = np.where(timed, _seconds(table["start_time"]), table["start_s"].to_numpy())
    end = np.where(timed, _seconds(table["end_time"]), table["end_s"].to_numpy())
    order = np.lexsort((start, job * ~timed, ~timed))
    tracklet = table["tracklet"].to_numpy()
    cameras, camera = np.unique(
        table["camera"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True
    )
    people, known, person = _people(table, job, galleries, series, folders)
    local = table["start_time"].cast(pa.timestamp("us", tz=zone))
    day = pc.fill_null(pc.strftime(local, format="%Y-%m-%d"), "").to_numpy(zero_copy_only=False).astype(str)
    hour = pc.fill_null(pc.hour(local), 0).to_numpy()
    finished = [datetime.fromisoformat(one.record.finished) for one in records]
    notes = [
        *_other_galleries(galleries),
        *_clocks(folders, finished, cameras, job[timed], camera[timed], start[timed], end[timed]),
    ]
    if not timed.all():
        notes.append(
            f"{int((~timed).sum()):,} sightings are of cameras without a clock: they count on no day"
        )
    return Site(
        tuple(folders),
        tuple(cameras.tolist()),
        tuple(people),
        known,
        job[order],
        camera[order],
        person[order],
        tracklet[order],
        start[order],
        np.maximum(end - start, 0)[order],
        timed[order],
        day[order],
        hour[order],
        tuple(notes),
    )


def _seconds(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(column.cast(pa.int64()), 0).to_numpy() / 1e6, np.float64)


def _people(
    table: pa.Table,
    job: npt.NDArray[np.int64],
    galleries: Sequence[str | None],
    series: Sequence[str],
    folders: Sequence[Path],
) -> tuple[list[str], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """What each person is called, whether they are enrolled, and the person of each sighting."""
    strange = np.asarray(pc.equal(table["identity"], UNKNOWN))
    names = np.where(
        strange,
        pc.fill_null(table["provisional"], UNKNOWN).to_numpy(zero_copy_only=False),
        table["identity"].to_numpy(zero_copy_only=False),
    ).astype(str)
    groups = [f"{gallery}" for gallery in galleries], [f"{one}" for one in series]
    codes = [np.unique(group, return_inverse=True)[1] for group in groups]
    group = np.where(strange, codes[1][job], codes[0][job])
    distinct, name = np.unique(names, return_inverse=True)
    keys = (group * 2 + strange) * len(distinct) + name
    _, first, person = np.unique(keys, return_index=True, return_inverse=True)
    several = [len(set(group)) > 1 for group in groups]
    places = (
        ["" if one is None else f" ({readable(Path(one).name)})" for one in galleries],
        [f" ({readable(Path(folder.name))})" for folder in folders],
    )
    labels = [
        f"{name}{places[kind][number] if several[kind] else ''}"
        for name, kind, number in zip(
            names[first].tolist(), strange[first].astype(int).tolist(), job[first].tolist(), strict=True
        )
    ]
    return labels, ~strange[first], person


def _other_galleries(galleries: Sequence[str | None]) -> list[str]:
    distinct = sorted({one for one in galleries if one is not None})
    if len(distinct) < 2:
        return []
    names = ", ".join(readable(Path(one)) for one in distinct)
    return [f"these jobs are of {len(distinct)} galleries, and a name is one person in each alone: {names}"]


def _clocks(
    folders: Sequence[Path],
    finished: Sequence[datetime],
    cameras: npt.NDArray[np.str_],
    job: npt.NDArray[np.int64],
    camera: npt.NDArray[np.int64],
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
) -> list[str]:
    """A line for each clock that cannot be right: a camera that two jobs saw at one time, and times after the
    job was done.
    """
    spans: dict[int, list[tuple[float, float, int]]] = {}
    for key in np.unique(camera * len(folders) + job).tolist():
        which, number = divmod(key, len(folders))
        rows = (camera == which) & (job == number)
        spans.setdefault(which, []).append((start[rows].min(), end[rows].max(), number))
    notes = []
    for which, stretches in spans.items():
        stretches.sort()
        for (_, until, one), (begins, _, other) in pairwise(stretches):
            if begins < until:
                both = f"{readable(folders[one])} and in {readable(folders[other])}"
                why = "the same footage twice, or a clock that jumped; both count"
                notes.append(f"camera {cameras[which]} is in {both} at one time: {why}")
        for _, until, number in stretches:
            if until > (finished[number] + _AHEAD).timestamp():
                of = f"camera {cameras[which]} of {readable(folders[number])}"
                notes.append(f"{of} was seen after that job was done: its clock is ahead")
    return notes


def columns_of(site: Site, rows: slice) -> list[list[Any]]:
    """Some sightings as the page's script takes them: job, camera, person, tracklet, start, seconds, day, the
    last -1 where there is no clock.
    """
    days = {name: number for number, name in enumerate(sorted(set(site.day.tolist())))}
    of = zip(site.day[rows].tolist(), site.timed[rows].tolist(), strict=True)
    return [
        site.job[rows].tolist(),
        site.camera[rows].tolist(),
        site.person[rows].tolist(),
        site.tracklet[rows].tolist(),
        np.round(site.start[rows], 1).tolist(),
        np.round(site.length[rows], 1).tolist(),
        [days[name] if timed else -1 for name, timed in of],
    ]
