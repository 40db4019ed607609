"""Whom a job saw: the sightings that its tracklets come to, who each is, and numbers for those who are
unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from reid.card import Certainty
from reid.evaluation.pair_metric import PairScorer
from serving.gallery import UNKNOWN, CompactIndex, Gallery
from serving.job.layout import JobFolder, WorkFolder
from serving.job.segments.camera import CameraState
from serving.job.sightings.over_cameras import OverCameras, gather
from serving.job.sightings.presence import resolve_simultaneous
from serving.job.sightings.sightings import Sighting, collect, pooled
from serving.job.sightings.strangers import SeenStrangers, group_strangers
from serving.job.stranger_file import numbers_before
from serving.matching import Match, drop_near_ties, identify, identify_rescored
from serving.spec import Camera, Job

__all__ = ["Identification", "People", "identified", "tally"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identification:
    """What people are named by."""

    gallery: Gallery
    threshold: float
    scorer: PairScorer | None  # the learned metric, where the job wants it
    earlier: SeenStrangers | None  # of earlier jobs
    series: str | None  # that their numbers belong to
    # how much the odds of one person rise as two embeddings come nearer; None where nobody has measured it
    certainty: Certainty | None = None
    index: CompactIndex | None = None  # that the gallery is searched by; None: all references
    notes: Sequence[str] = ()  # what is to be said of that

    def slope(self, same_distance: float) -> float:
        """Of the logarithm of the odds for each unit of distance nearer: the model card's, else ten over the
        distance at which looks speak for neither side, as tracklets are linked.
        """
        return 10.0 / max(same_distance, 1e-3) if self.certainty is None else self.certainty.slope

    def matches(self, job: Job, embeddings: npt.NDArray[np.float32]) -> list[Match]:
        """Who each embedding (N, D) is."""
        how = job.policy, job.top_k
        if self.scorer is not None:
            return identify_rescored(embeddings, self.gallery, self.threshold, self.scorer, *how)
        return drop_near_ties(
            identify(embeddings, self.gallery, self.threshold, *how, self.index), job.ratio_test
        )


@dataclass(frozen=True, slots=True)
class People:
    """Whom a job saw.

    ``of``: the sightings of each of the ``cameras``. ``sightings`` are those of all, N, and in their order
    are the embeddings (N, D), who each is, and the number of each who is unknown. ``series``: what the
    numbers belong to. ``over_cameras``: what the record says of how cameras were joined.
    """

    cameras: dict[str, Camera]
    of: dict[str, list[Sighting]]
    sightings: list[Sighting]
    embeddings: npt.NDArray[np.float32]
    matches: list[Match]
    numbers: list[int | None]
    series: str | None
    over_cameras: dict[str, Any]


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
    same_distance = job.link.same_distance or by.threshold
    over = gather(job, runs, work, sightings, embeddings, same_distance, by.slope(same_distance))
    found = resolve_simultaneous(
        sightings,
        by.matches(job, over.embeddings) if sightings else [],
        over.people,
        over.evidence.elsewhere,
    )
    strange = _strangers(over, found, embeddings, same_distance, by)
    matches = _of_sightings(over, found)
    numbers = _of_sightings(over, strange)
    series = by.series
    if before is not None and not job.earlier:
        numbers, series = numbers_before(before.path, numbers, embeddings)
    cameras = {run.camera.id: run.camera for run in runs}
    return People(cameras, of, sightings, embeddings, matches, numbers, series, over.facts)


def _strangers(
    over: OverCameras,
    matches: Sequence[Match],
    embeddings: npt.NDArray[np.float32],
    same_distance: float,
    by: Identification,
) -> list[int | None]:
    """A provisional number for each person who is unknown; strangers are numbered in the order in which they
    came.
    """
    unknown = [at for at, match in enumerate(matches) if match.identity == UNKNOWN]
    people = [over.people[at] for at in unknown]
    slope = by.slope(same_distance)
    numbers = group_strangers(embeddings, over.evidence, same_distance, slope, people, by.earlier)
    found: list[int | None] = [None] * len(matches)
    for at, number in zip(unknown, numbers, strict=True):
        found[at] = number
    return found


def _of_sightings(over: OverCameras, of_people: Sequence[T]) -> list[T]:
    """What each person has, for each of their sightings."""
    at = {sighting: person for person, sightings in enumerate(over.people) for sighting in sightings}
    return [of_people[at[sighting]] for sighting in range(len(at))]


def tally(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the job record counts of rows of sightings."""
    unknown = sum(row["identity"] == UNKNOWN for row in rows)
    return {"sightings": len(rows), "named": len(rows) - unknown, "unknown": unknown}
