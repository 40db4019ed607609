"""What a job knows of places and times over its cameras, gathered before its people are named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.job.layout import WorkFolder
from serving.job.segments.camera import CameraState
from serving.job.sightings.evidence import Evidence
from serving.job.sightings.ground import tracks_of
from serving.job.sightings.sightings import Sighting, pooled
from serving.job.sightings.together import seen_together
from serving.job.sightings.travel import Way, learn_ways
from serving.spec import Camera, Job

__all__ = ["OverCameras", "gather", "span_of"]


@dataclass(frozen=True, eq=False)
class OverCameras:
    """Of N sightings: what speaks for and against one person, and who was seen by several cameras at once.

    ``people``: the indices of the sightings of each of P people, ``embeddings (P, D)`` of norm 1.
    """

    evidence: Evidence
    people: list[list[int]]
    embeddings: npt.NDArray[np.float32]
    facts: dict[str, Any]  # for the record


def gather(
    job: Job,
    runs: Sequence[CameraState],
    work: WorkFolder,
    everyone: Sequence[Sighting],
    embeddings: npt.NDArray[np.float32],
    same_distance: float,
    slope: float,
) -> OverCameras:
    """Places, learned travel times, and the sightings that are one person at one time.

    Args:
        job: it.
        runs: its cameras.
        work: where their segments are stored.
        everyone: all sightings, a camera after the other as in ``runs``.
        embeddings: (N, D) of norm 1, a sighting each.
        same_distance: up to which two embeddings are one person.
        slope: of the logarithm of the odds for each unit of distance nearer.
    """
    cameras = {run.camera.id: run.camera for run in runs}
    spans = np.asarray([span_of(one, cameras[one.camera]) for one in everyone], np.float64).reshape(-1, 2)
    clocked = np.asarray([cameras[one.camera].start_time is not None for one in everyone], np.bool_)
    placed = [run for run in runs if run.camera.floor is not None and _usable(run)]
    if len(placed) < 2:
        placed = []  # of one camera alone, places say nothing
    tracks = [
        track
        for run in runs
        for mine in [[one for one in everyone if one.camera == run.camera.id]]
        for track in (tracks_of(run, mine, work) if run in placed else [None] * len(mine))
    ]
    where = [one.camera for one in everyone]
    least = {frozenset(one.between): one.at_least_s for one in job.travel}
    ways = {}
    if job.join.learn_travel:
        on_clock = np.where(clocked[:, None], spans, np.nan)
        learned = learn_ways(embeddings, where, on_clock, same_distance)
        ways = {between: way for between, way in learned.items() if between not in least}
    evidence = Evidence(where, spans, tracks, least, ways, job.join.max_speed)
    people = seen_together(embeddings, evidence, same_distance, slope)
    people.sort(key=lambda one: (min(spans[at, 0] for at in one), one[0]))
    vectors = np.asarray(
        [
            embeddings[one[0]]
            if len(one) == 1
            else pooled([member for at in one for member in everyone[at].members])
            for one in people
        ],
        np.float32,
    ).reshape(len(people), embeddings.shape[1])
    facts = {
        "positions": [run.camera.id for run in placed],
        "seen_together": sum(len(one) for one in people if len(one) > 1),
        "ways": [_way_facts(*one) for one in sorted(ways.items(), key=lambda one: sorted(one[0]))],
    }
    return OverCameras(evidence, people, vectors, facts)


def span_of(one: Sighting, camera: Camera) -> tuple[float, float]:
    """Start and end in seconds: since 1970 where the camera has a clock, else since its first frame."""
    start = camera.start_time.astimezone().timestamp() if camera.start_time else 0.0
    return start + one.start_s, start + one.end_s


def _usable(run: CameraState) -> bool:
    if run.camera.start_time is None:
        note = "its floor is not used, for it has no clock: give it a start_time"
        run.notes += [note] if note not in run.notes else []
    return run.camera.start_time is not None


def _way_facts(between: frozenset[str], way: Way) -> Mapping[str, Any]:
    return {
        "between": sorted(between),
        "joins": way.joins,
        "used": way.used,
        "median_s": round(way.median_s, 2),
        "spread_s": round(way.spread_s, 2),
        "share": round(way.share, 3),
    }
