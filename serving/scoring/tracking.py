"""How right a job was, against truth in MOTChallenge format: tracking metrics by library, and how many
sightings have the right name.

HOTA: Luiten et al. 2021. CLEAR (MOTA): Bernardin and Stiefelhagen 2008. IDF1: Ristani et al. 2016.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.mot import MotTable, read_mot
from serving.job.layout import JobFolder, open_job, xyxy_of
from serving.job.record import ScoredRecord
from serving.overlap import box_iou
from serving.scoring.names import IOU, NameAccuracy, first_right_names, name_sightings, true_identities

__all__ = ["CameraScore", "Score", "score_job"]


@dataclass(frozen=True, slots=True)
class CameraScore:
    """Figures of one camera."""

    hota: float
    idf1: float
    mota: float
    recall: float
    precision: float
    id_switches: int
    truth_boxes: int
    boxes: int
    naming: NameAccuracy
    # median over enrolled people who were named right, from their first true box on
    first_right_name_s: float | None


@dataclass(frozen=True)
class Score:
    """Figures of a job by camera, and over all cameras (rates weighted by their counts, as the library
    combines them).
    """

    cameras: dict[str, CameraScore]
    total: CameraScore

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""

        def one(score: CameraScore) -> dict[str, Any]:
            return asdict(score) | score.naming.shares()

        return {
            "cameras": {name: one(score) for name, score in self.cameras.items()},
            "total": one(self.total),
        }


def score_job(
    folder: Path | str,
    truth: dict[str, Path],
    frames: tuple[int, int] | None = None,
    people: dict[str, str] | None = None,
) -> Score:
    """Score a job's output.

    Args:
        folder: what ``reid match`` wrote.
        truth: MOTChallenge truth of each camera to score; the key ``""`` stands for the only camera of the
            job.
        frames: first and last frame to score, both included; None: those that the job looked at.
        people: who a truth id is, where that is not its own name. MOTChallenge ids are often of *tracks*:
            somebody who leaves and comes back has a new one. Tracking metrics are of the ids as they stand;
            names are compared with people.

    Raises:
        UsageError: the folder or a truth file is missing, or a camera is not in the job.
        ReidError: a truth file has no box in the frames.
    """
    folder = Path(folder)
    files = JobFolder(folder)
    boxes = files.read_detections()
    sightings = files.read_sightings(("camera", "tracklet", "identity"))
    record = open_job(folder, ScoredRecord).record
    cameras = [camera.id for camera in record.job.cameras]
    enrolled = frozenset(record.gallery.identities)
    raw: dict[str, dict[str, Any]] = {}
    namings: dict[str, NameAccuracy] = {}
    waits: dict[str, list[float]] = {}
    fps = {camera: one.fps or 1.0 for camera, one in record.counts.cameras.items()}
    # Of the cameras that the job looked at in part.
    looked_at = {camera.id: camera.frames for camera in record.job.cameras if camera.frames}
    for name, path in truth.items():
        camera = _resolve(name, cameras, folder)
        scored = frames or looked_at.get(camera)
        table = _within(read_mot(path), scored)
        if not len(table):
            raise ReidError(f"truth {path} has no box in the frames to score: check --frames")
        found = _tracked(boxes, camera, scored)
        raw[camera] = _metrics(table, found)
        names = {row["tracklet"]: row["identity"] for row in sightings.to_pylist() if row["camera"] == camera}
        true = true_identities(table, found, people or {})
        namings[camera] = name_sightings(true, names, enrolled)
        waits[camera] = [
            frames / fps.get(camera, 1.0)
            for frames in first_right_names(table, found, true, names, people or {})
        ]
    scores = {camera: _camera_score(value, namings[camera], waits[camera]) for camera, value in raw.items()}
    return Score(
        scores,
        _camera_score(
            _aggregate(raw), _sum(list(namings.values())), [one for wait in waits.values() for one in wait]
        ),
    )


def _resolve(name: str, cameras: list[str], folder: Path) -> str:
    if name in cameras:
        return name
    if not name and len(cameras) == 1:
        return cameras[0]
    if not name:
        raise UsageError(
            f"job {folder} has {len(cameras)} cameras: name each truth as camera=file ({', '.join(cameras)})"
        )
    raise UsageError(f"camera {name!r} is not in job {folder}: it has {', '.join(cameras)}")


def _within(table: MotTable, frames: tuple[int, int] | None) -> MotTable:
    # A confidence of 0 marks a truth box that does not count.
    keep = table.confidence != 0
    if frames is not None:
        keep &= (table.frame >= frames[0]) & (table.frame <= frames[1])
    return table.select(keep)


def _tracked(boxes: Any, camera: str, frames: tuple[int, int] | None) -> MotTable:
    mine = boxes.filter(np.asarray(boxes["camera"].to_pylist(), object) == camera)
    table = MotTable(
        mine["frame"].to_numpy(),
        mine["tracklet"].to_numpy(),
        xyxy_of(mine, np.float32),
        np.ones(len(mine), np.float32),
    )
    return _within(table, frames)


def _metrics(truth: MotTable, found: MotTable) -> dict[str, Any]:
    from trackers.eval import compute_clear_metrics, compute_hota_metrics, compute_identity_metrics

    true_frames, found_frames = truth.by_frame(), found.by_frame()
    true_ids, found_ids, overlaps = [], [], []
    compact_true, compact_found = _compact(truth.id), _compact(found.id)
    for number in sorted({*true_frames, *found_frames}):
        there, seen = true_frames.get(number), found_frames.get(number)
        true_ids.append(np.asarray([compact_true[i] for i in there.id.tolist()] if there else [], np.int64))
        found_ids.append(np.asarray([compact_found[i] for i in seen.id.tolist()] if seen else [], np.int64))
        overlaps.append(_overlap(there, seen))
    return {
        "clear": compute_clear_metrics(true_ids, found_ids, overlaps, threshold=IOU),
        "hota": compute_hota_metrics(true_ids, found_ids, overlaps),
        "identity": compute_identity_metrics(true_ids, found_ids, overlaps, threshold=IOU),
        "truth_boxes": len(truth),
        "boxes": len(found),
    }


def _overlap(there: MotTable | None, seen: MotTable | None) -> npt.NDArray[np.float64]:
    empty = np.zeros((0, 4))
    return box_iou(
        empty if there is None else there.xyxy.astype(np.float64),
        empty if seen is None else seen.xyxy.astype(np.float64),
    )


def _compact(ids: npt.NDArray[np.int64]) -> dict[int, int]:
    return {int(one): index for index, one in enumerate(np.unique(ids))}


def _aggregate(raw: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from trackers.eval import aggregate_clear_metrics, aggregate_hota_metrics, aggregate_identity_metrics

    values = list(raw.values())
    if len(values) == 1:
        return values[0]
    return {
        "clear": aggregate_clear_metrics([value["clear"] for value in values]),
        "hota": aggregate_hota_metrics([value["hota"] for value in values]),
        "identity": aggregate_identity_metrics([value["identity"] for value in values]),
        "truth_boxes": sum(value["truth_boxes"] for value in values),
        "boxes": sum(value["boxes"] for value in values),
    }


def _sum(namings: list[NameAccuracy]) -> NameAccuracy:
    return NameAccuracy(
        *(
            sum(getattr(one, name) for one in namings)
            for name in ("right", "wrong", "unknown", "no_truth", "named")
        )
    )


def _camera_score(value: dict[str, Any], naming: NameAccuracy, waits: list[float]) -> CameraScore:
    clear, hota, identity = value["clear"], value["hota"], value["identity"]
    return CameraScore(
        hota=float(hota["HOTA"]),
        idf1=float(identity["IDF1"]),
        mota=float(clear["MOTA"]),
        recall=float(clear["CLR_Re"]),
        precision=float(clear["CLR_Pr"]),
        id_switches=int(clear["IDSW"]),
        truth_boxes=value["truth_boxes"],
        boxes=value["boxes"],
        naming=naming,
        first_right_name_s=float(np.median(waits)) if waits else None,
    )
