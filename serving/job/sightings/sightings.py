"""From tracklets of segments to sightings: a person seen by one camera from when to when, with a name or
``unknown``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from reid.embeddings import pool
from serving.job.encryption import opening
from serving.job.layout import SegmentFolder, WorkFolder, xyxy_of
from serving.job.segments.camera import CameraState
from serving.job.segments.segment import Segment
from serving.job.segments.tables import PEOPLE
from serving.job.sightings.linking import Ends, at_edge, chain, join_border, link_scores, neutral_distance
from serving.spec import LinkSpec
from serving.tracking import bridged_s, is_somebody, least_frames
from serving.video import Footage

__all__ = ["Member", "Sighting", "collect", "pooled"]


@dataclass(frozen=True, slots=True)
class Member:
    """A stored tracklet: segment index, its id there, and its row of ``tracklets.parquet``."""

    segment: int
    raw: int
    row: dict[str, Any]


@dataclass(frozen=True)
class Sighting:
    """Stored tracklets of one camera that are one person, in order of time. ``number`` counts from 1 in each
    camera.
    """

    camera: str
    number: int
    members: tuple[Member, ...]

    @property
    def best(self) -> Member:
        """The member with the best crop."""
        return max(self.members, key=lambda member: member.row["best_quality"])

    @property
    def start_s(self) -> float:
        """Seconds since the camera's first frame."""
        return min(float(member.row["first_s"]) for member in self.members)

    @property
    def end_s(self) -> float:
        """Seconds since the camera's first frame."""
        return max(float(member.row["last_s"]) for member in self.members)


def collect(
    runs: Sequence[CameraState], work: WorkFolder, link: LinkSpec, same_distance: float, min_frames: int
) -> dict[str, list[Sighting]]:
    """Join the stored tracklets of each camera's segments into sightings, in order of their start.

    What is nobody by :func:`~serving.tracking.is_somebody` is left out.
    """
    cameras = {run.camera.id: _across_borders(run.segments, work) for run in runs}
    if link.enabled:
        ends = {
            run.camera.id: _ends(cameras[run.camera.id], run.footage)
            for run in runs
            if run.footage and cameras[run.camera.id]
        }
        limit = link.same_distance or max(neutral_distance(list(ends.values()), same_distance), 1e-3)
        rates = {run.camera.id: run.footage.fps / run.camera.step for run in runs if run.footage}
        for name, one in ends.items():
            cameras[name] = _linked(cameras[name], one, bridged_s(link.max_gap_s, rates[name]), limit)
    least = {
        run.camera.id: least_frames(min_frames, run.footage.fps / run.camera.step) if run.footage else 1
        for run in runs
    }
    return {
        name: _numbered(name, [group for group in groups if _trusted(group, least[name])])
        for name, groups in cameras.items()
    }


def _numbered(camera: str, groups: list[list[Member]]) -> list[Sighting]:
    groups.sort(key=lambda group: (min(m.row["first_s"] for m in group), group[0].segment, group[0].raw))
    return [Sighting(camera, number, tuple(group)) for number, group in enumerate(groups, start=1)]


def _trusted(group: list[Member], min_frames: int) -> bool:
    frames, sure = (sum(int(member.row[name]) for member in group) for name in ("frames", "sure"))
    return is_somebody(frames, sure, min_frames)


def pooled(members: Sequence[Member]) -> npt.NDArray[np.float32]:
    """One embedding (D,) for tracklets, weighted by how good and how many their crops are."""
    vectors = np.asarray([member.row["embedding"] for member in members], np.float32)
    return pool(vectors, np.asarray([member.row["weight"] for member in members]))


def _across_borders(segments: Sequence[Segment], work: WorkFolder) -> list[list[Member]]:
    members = [
        Member(segment.index, int(row["raw"]), row)
        for segment in segments
        for row in _stored(work.segment(segment.name))
    ]
    by_key = {(member.segment, member.raw): member for member in members}
    group_of: dict[tuple[int, int], list[Member]] = {}
    groups: list[list[Member]] = []
    for position, after in enumerate(segments):
        before = segments[position - 1] if position else None
        joined: dict[int, int] = {}
        # A segment begins before the frames that it owns, to warm its tracker up: frames that both have seen.
        if before is not None and after.begin < after.first:
            pairs = join_border(_boxes(before, work, after), _boxes(after, work, after))
            joined = {two: one for one, two in pairs}
        for member in (m for m in members if m.segment == after.index):
            earlier = joined.get(member.raw)
            group = None if earlier is None or before is None else group_of.get((before.index, earlier))
            if group is None:
                group = []
                groups.append(group)
            group.append(by_key[member.segment, member.raw])
            group_of[member.segment, member.raw] = group
    return groups


def _stored(segment: SegmentFolder) -> Iterator[dict[str, Any]]:
    # Without the crops: a job's are read when they are written, a segment at a time.
    names = [name for name in PEOPLE.names if name != "best_jpeg"]
    table = pq.read_table(
        segment.people, columns=names, decryption_properties=opening(segment.people, "segment")
    )
    vectors = table["embedding"].to_pylist()
    for row, vector in zip(table.drop_columns("embedding").to_pylist(), vectors, strict=True):
        # As an array: a list of floats is eight times as large, and all of a job's are in memory at once.
        yield row | {"embedding": np.asarray(vector, np.float32)}


def _boxes(
    segment: Segment, work: WorkFolder, border: Segment
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    shared = [("frame", ">=", border.begin), ("frame", "<", border.first)]
    table = pq.read_table(work.segment(segment.name).boxes, filters=shared)
    return table["raw"].to_numpy(), table["frame"].to_numpy(), xyxy_of(table, np.float64)


def _ends(groups: list[list[Member]], footage: Footage) -> Ends:
    head = np.asarray([group[0].row["head"] for group in groups], np.float64)
    tail = np.asarray([group[-1].row["tail"] for group in groups], np.float64)
    return Ends(
        np.asarray([min(m.row["first_s"] for m in group) for group in groups], np.float64),
        np.asarray([max(m.row["last_s"] for m in group) for group in groups], np.float64),
        head,
        tail,
        np.asarray([pooled(group) for group in groups], np.float64),
        at_edge(head, footage.width, footage.height),
        at_edge(tail, footage.width, footage.height),
    )


def _linked(
    groups: list[list[Member]], ends: Ends, max_gap_s: float, same_distance: float
) -> list[list[Member]]:
    labels = chain(len(groups), *link_scores(ends, max_gap_s, same_distance))
    linked: dict[int, list[Member]] = {}
    for index in np.argsort(ends.first_s, kind="stable"):
        linked.setdefault(int(labels[index]), []).extend(groups[int(index)])
    return list(linked.values())
