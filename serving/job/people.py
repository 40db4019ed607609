"""Whom a job saw: the sightings that its tracklets come to, who each is, and numbers for those who are
unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.evaluation.pair_metric import PairScorer
from serving.gallery import UNKNOWN, Gallery
from serving.job.layout import JobFolder, WorkFolder
from serving.job.segments.camera import CameraState
from serving.job.sightings.presence import resolve_simultaneous
from serving.job.sightings.sightings import Sighting, collect, pooled
from serving.job.sightings.strangers import SeenStrangers, group_strangers
from serving.job.stranger_file import numbers_before
from serving.matching import Match, drop_near_ties, identify, identify_rescored
from serving.spec import Camera, Job

__all__ = ["Identification", "People", "identified", "span_of", "tally"]


@dataclass(frozen=True, slots=True)
class Identification:
    """What people are named by."""

    gallery: Gallery
    threshold: float
    scorer: PairScorer | None  # the learned metric, where the job wants it
    earlier: SeenStrangers | None  # of earlier jobs
    series: str | None  # that their numbers belong to

    def matches(self, job: Job, embeddings: npt.NDArray[np.float32]) -> list[Match]:
        """Who each embedding (N, D) is."""
        how = job.policy, job.top_k
        if self.scorer is not None:
            return identify_rescored(embeddings, self.gallery, self.threshold, self.scorer, *how)
        return drop_near_ties(identify(embeddings, self.gallery, self.threshold, *how), job.ratio_test)


@dataclass(frozen=True, slots=True)
class People:
    """Whom a job saw.

    ``of``: the sightings of each of the ``cameras``. ``sightings`` are those of all, N, and in their order
    are the embeddings (N, D), who each is, and the number of each who is unknown. ``series``: what the
    numbers belong to.
    """

    cameras: dict[str, Camera]
    of: dict[str, list[Sighting]]
    sightings: list[Sighting]
    embeddings: npt.NDArray[np.float32]
    matches: list[Match]
    numbers: list[int | None]
    series: str | None


def identified(
    job: Job, runs: Sequence[CameraState], work: WorkFolder, by: Identification, before: JobFolder | None
) -> People:
    """Whom the segments in ``work`` show.

    ``before``: an output of the same footage, whose unknown people keep their numbers.
    """
    of = collect(runs, work, job.link, by.threshold, job.tracker.min_frames)
    sightings = [one for run in runs for one in of[run.camera.id]]
    embeddings = (
        np.stack([pooled(one.members) for one in sightings]) if sightings else np.zeros((0, 1), np.float32)
    )
    matches = resolve_simultaneous(sightings, by.matches(job, embeddings) if sightings else [])
    travel = {frozenset(one.between): one.at_least_s for one in job.travel}
    same_distance = job.link.same_distance or by.threshold
    cameras = {run.camera.id: run.camera for run in runs}
    numbers = _strangers(sightings, matches, embeddings, cameras, same_distance, travel, by.earlier)
    series = by.series
    if before is not None and not job.earlier:
        numbers, series = numbers_before(before.path, numbers, embeddings)
    return People(cameras, of, sightings, embeddings, matches, numbers, series)


def _strangers(
    sightings: Sequence[Sighting],
    matches: Sequence[Match],
    embeddings: npt.NDArray[np.float32],
    cameras: dict[str, Camera],
    same_distance: float,
    travel_s: dict[frozenset[str], float],
    earlier: SeenStrangers | None,
) -> list[int | None]:
    """A provisional number for each sighting that is unknown; strangers are numbered in the order in which
    they came.
    """
    spans = np.asarray([span_of(one, cameras[one.camera]) for one in sightings], np.float64).reshape(-1, 2)
    unknown = np.asarray(
        [index for index in np.argsort(spans[:, 0], kind="stable") if matches[index].identity == UNKNOWN],
        np.int64,
    )
    places = [sightings[index].camera for index in unknown]
    numbers = group_strangers(embeddings[unknown], places, spans[unknown], same_distance, travel_s, earlier)
    found: list[int | None] = [None] * len(sightings)
    for index, number in zip(unknown, numbers, strict=True):
        found[index] = number
    return found


def span_of(one: Sighting, camera: Camera) -> tuple[float, float]:
    """Start and end in seconds: since 1970 where the camera has a clock, else since its first frame."""
    start = camera.start_time.astimezone().timestamp() if camera.start_time else 0.0
    return start + one.start_s, start + one.end_s


def tally(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the job record counts of rows of sightings."""
    unknown = sum(row["identity"] == UNKNOWN for row in rows)
    return {"sightings": len(rows), "named": len(rows) - unknown, "unknown": unknown}
