"""A card for each sighting: its picture, the facts of it, and how sure its name is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.gallery import UNKNOWN
from serving.job.layout import JobFolder, key_of, sighting_name
from serving.job.record import ShownRecord
from serving.job.report.axis import Row
from serving.job.report.pictures import Picture, picture
from serving.job.report.sighting import Sighting

__all__ = ["Card", "cards"]

_SURE = 0.3  # from where on a decision counts as fully sure, as a distance


@dataclass(frozen=True, slots=True)
class Card:
    """What the page says of a sighting."""

    sighting: Sighting
    picture: Picture | None
    decision: list[tuple[str, str]]  # how it came to the name
    by_hand: bool
    sure: float | None  # 0 to 1; None where there was nobody to compare with
    watch: str | None  # the address of this moment in the camera's video


def cards(
    sightings: Sequence[Sighting], record: ShownRecord, folder: JobFolder, root: Path
) -> Iterator[Card]:
    """The cards one after the other: the pictures of all of them are never held at once.

    ``root`` is the folder, resolved.
    """
    videos = {camera: folder.video(camera) for camera in {one.row["camera"] for one in sightings}}
    videos = {camera: video for camera, video in videos.items() if video.is_file()}
    corrected = set(record.corrections.sightings)
    for one in sightings:
        row = one.row
        by_hand = sighting_name(*key_of(row)) in corrected
        yield Card(
            one,
            picture(one, root),
            _decision(row, by_hand, record),
            by_hand,
            None if row["distance"] is None else min(row["certainty"] / _SURE, 1.0),
            _watch(row, videos[row["camera"]], record) if row["camera"] in videos else None,
        )


def _decision(row: Row, by_hand: bool, record: ShownRecord) -> list[tuple[str, str]]:
    lines = []
    refused = row["identity"] == UNKNOWN or by_hand
    if row["distance"] is not None:
        whom = f"{row['nearest']} " if refused else ""
        lines.append(("nearest" if refused else "distance", f"{whom}{row['distance']:.3f}"))
        lines.append(("limit", f"{row['threshold']:.3f}"))
    if row["runner_up"] and row["runner_up_distance"] is not None:
        lines.append(("runner-up", f"{row['runner_up']} {row['runner_up_distance']:.3f}"))
        if row["identity"] == UNKNOWN and row["distance"] <= row["threshold"] and not record.job.rescore:
            lines.append(("why unknown", "the runner-up is nearly as near"))
    return lines


def _watch(row: Row, video: Path, record: ShownRecord) -> str:
    camera = record.counts.cameras.get(row["camera"])
    begin = (camera and camera.video_start_s) or 0.0
    at = max(row["start_s"] - begin, 0.0)
    return f"{video.name}#t={at:.1f}"
