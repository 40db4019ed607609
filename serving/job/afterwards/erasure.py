"""People erased from a finished job, and embeddings that have outlived their time.

The folder is written anew beside itself and put into its place at one stroke: whoever is killed leaves it as
it was, or as it will be.
"""

import shutil
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError, UsageError
from reid.files import atomic_directory, write_json
from reid.parquet import PARQUET_ERRORS
from serving.job.corrections.plan import Plan, names_of
from serving.job.corrections.tables import correct_rows, counts_of, sightings_table, write_detections
from serving.job.encryption import read_sealed, write_sealed
from serving.job.kept import link, link_rest
from serving.job.layout import (
    JobFolder,
    JobOutput,
    Key,
    SegmentFolder,
    crop_name,
    is_called,
    key_of,
    open_job,
)
from serving.job.record import ForgottenRecord
from serving.job.sightings.embeddings import keep_embeddings
from serving.job.stranger_file import read_strangers, write_strangers

__all__ = ["Forgotten", "expire", "forget"]

_WAY_OUT = "run the job again"


@dataclass(frozen=True)
class Forgotten:
    """What was erased from a job. ``videos``: annotated ones of cameras that saw the people, taken out;
    ``kept``: whether what it had kept for naming people anew went as a whole.
    """

    folder: str
    sightings: int = 0
    embeddings: int = 0
    videos: tuple[str, ...] = ()
    kept: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def line(self) -> str:
        """In words."""
        if not (self.sightings or self.embeddings or self.kept):
            return f"{self.folder}: nothing to erase"
        parts = [f"{self.sightings} sightings erased"] if self.sightings else []
        parts += [f"{self.embeddings} embeddings erased"] if self.embeddings else []
        parts += [f"taken out: {', '.join(self.videos)}"] if self.videos else []
        parts += ["kept segments erased, people can no longer be named anew"] if self.kept else []
        return f"{self.folder}: {'; '.join(parts)}"


def forget(folder: Path, names: Collection[str], sightings: Collection[str] = ()) -> Forgotten:
    """Erase people from a finished job: their sightings, boxes, crops, embeddings and kept tracklets, the
    report's pictures, and the annotated videos of the cameras that saw them.

    Args:
        folder: the job's output.
        names: known or provisional.
        sightings: ``CAMERA-NUMBER`` each, as crops are called, or ``CAMERA:NUMBER``.

    Raises:
        UsageError: the folder is no job's output, or has no such sighting.
        ReidError: a file is damaged.
    """
    job = open_job(folder, ForgottenRecord)
    rows = job.files.read_sightings().to_pylist()
    wanted = {unicodedata.normalize("NFC", name) for name in names}
    by_hand = {_named(rows, text, folder) for text in sightings}
    gone = [
        row for row in rows if key_of(row) in by_hand or wanted & {str(row["provisional"]), row["identity"]}
    ]
    if not gone:
        return Forgotten(str(folder))
    keys = {key_of(row) for row in gone}
    cameras = sorted({row["camera"] for row in gone})
    videos = tuple(path.name for camera in cameras if (path := job.files.video(camera)).is_file())
    was = names_of(rows)
    plan = Plan(was, {key: name for key, name in was.items() if key not in keys}, set())
    with atomic_directory(folder, private=True) as temporary:
        files = JobFolder(temporary)
        embeddings = _rest(job, files, plan.now.keys(), [*videos, job.files.kept.path.name])
        if job.files.kept.path.is_dir():
            shutil.copytree(job.files.kept.path, files.kept.path, copy_function=link)
            try:
                for camera in cameras:
                    _erase_kept(job.files, files, camera, [row for row in gone if row["camera"] == camera])
            except PARQUET_ERRORS as error:
                raise ReidError(f"the boxes of job {folder} are damaged: run the job again") from error
        for key in keys:
            (temporary / crop_name(*key)).unlink(missing_ok=True)
        after = correct_rows(rows, plan)
        pq.write_table(sightings_table(after), files.sightings)
        boxes = write_detections(job.files.detections, files.detections, plan)
        _write_record(job, files, after, boxes, videos)
        _write_page(job, files, folder)
    return Forgotten(str(folder), len(gone), embeddings, videos)


def expire(folder: Path, days: int, now: datetime) -> Forgotten:
    """Erase the embeddings of sightings that ended more than ``days`` before ``now``; of cameras without a
    clock it is when the job was done that counts. Tables and pictures stay.

    What the job has kept for naming people anew goes as a whole, for it is of no use without them.

    Raises:
        UsageError: the folder is no job's output.
        ReidError: a file is damaged.
    """
    job = open_job(folder, ForgottenRecord)
    finished = datetime.fromisoformat(job.record.finished)
    rows = job.files.read_sightings(("camera", "tracklet", "end_time")).to_pylist()
    limit = now - timedelta(days=days)
    fresh = {key_of(row) for row in rows if (row["end_time"] or finished) >= limit}
    if len(fresh) == len(rows) or not _has_embeddings(job.files):
        return Forgotten(str(folder))
    kept = job.files.kept.path
    had_kept = kept.is_dir()
    with atomic_directory(folder, private=True) as temporary:
        files = JobFolder(temporary)
        embeddings = _rest(job, files, fresh, [kept.name])
        old = job.files
        for path in (old.sightings, old.detections, old.record, old.report, old.score):
            if path.is_file():
                link(str(path), str(temporary / path.name))
    return Forgotten(str(folder), embeddings=embeddings, kept=had_kept)


def _has_embeddings(files: JobFolder) -> bool:
    return files.embeddings.is_file() or files.strangers.is_file() or files.kept.path.is_dir()


def _named(rows: Sequence[dict[str, Any]], text: str, folder: Path) -> Key:
    for row in rows:
        if is_called(row, text):
            return key_of(row)
    raise UsageError(f"{folder} has no sighting {text!r}: name it as its crop is called")


def _rest(
    job: JobOutput[ForgottenRecord], files: JobFolder, left: Collection[Key], without: Collection[str]
) -> int:
    """Put into ``files`` what stays as it is, and the embeddings that are left; returns how many are not."""
    old = job.files
    anew = [old.sightings, old.detections, old.strangers, old.embeddings, old.record, old.report, old.score]
    link_rest(old.path, files.path, {*anew, *(old.path / name for name in without)})
    gone: set[Key] = set()
    if old.strangers.is_file():
        strangers = read_strangers(old.path)
        gone |= {key_of(row) for row in strangers.rows} - set(left)
        rows = [row for row in strangers.rows if key_of(row) in left]
        write_strangers(files.strangers, rows, strangers.fingerprint, strangers.series)
    count = keep_embeddings(old.embeddings, files.embeddings, left) if old.embeddings.is_file() else 0
    return max(count, len(gone))


def _write_record(
    job: JobOutput[ForgottenRecord],
    files: JobFolder,
    rows: Sequence[dict[str, Any]],
    boxes: Counter[str],
    videos: Collection[str],
) -> None:
    record = job.record.as_dict()
    record["counts"] = counts_of(record["counts"], rows, boxes)
    record["written"] = [name for name in record["written"] if name not in videos]
    write_json(files.record, record)


def _write_page(job: JobOutput[ForgottenRecord], files: JobFolder, folder: Path) -> None:
    if job.files.report.is_file():
        from serving.job.report import write_report

        write_report(files.path, files.report, folder)


def _erase_kept(old: JobFolder, files: JobFolder, camera: str, gone: Sequence[dict[str, Any]]) -> None:
    """Take the tracklets of sightings out of what is kept of a camera."""
    numbers = {row["tracklet"] for row in gone}
    spans = [(row["start_frame"], row["end_frame"]) for row in gone]
    columns = ["frame", "tracklet", "x", "y", "w", "h"]
    shown = pq.read_table(old.detections, columns=columns, filters=[("camera", "==", camera)])
    shown = shown.sort_by("frame")  # so that a segment's boxes are one slice
    frames = shown["frame"].to_numpy()
    for segment in files.kept.segments_of(camera):
        boxes = pq.read_table(segment.boxes)
        ends = [min(boxes["frame"].to_pylist(), default=0), max(boxes["frame"].to_pylist(), default=-1) + 1]
        first, behind = np.searchsorted(frames, ends).tolist()
        if raws := _theirs(boxes, shown.slice(first, behind - first), numbers, spans):
            _without(segment, boxes, raws)


def _theirs(
    boxes: pa.Table, shown: pa.Table, numbers: Collection[int], spans: Sequence[tuple[int, int]]
) -> set[int]:
    """Tracklets of a segment that are of these sightings: boxes are known by their bytes. What is in no
    sighting, and there at the same time, goes with them: nobody can tell that it is somebody else.
    """
    owner = dict(zip(_bytes(shown), shown["tracklet"].to_pylist(), strict=True))
    owners: dict[int, set[int]] = {}
    frames: dict[int, list[int]] = {}
    for raw, frame, box in zip(
        boxes["raw"].to_pylist(), boxes["frame"].to_pylist(), _bytes(boxes), strict=True
    ):
        frames.setdefault(raw, []).append(frame)
        owners.setdefault(raw, set()).update([owner[box]] if box in owner else [])

    def there(raw: int) -> bool:
        return any(first <= frames[raw][-1] and frames[raw][0] <= last for first, last in spans)

    return {raw for raw, whose in owners.items() if whose & set(numbers) or (not whose and there(raw))}


def _bytes(table: pa.Table) -> list[bytes]:
    columns = [table["frame"].to_numpy().astype(np.int32)]
    columns += [table[name].to_numpy().astype(np.float32).view(np.int32) for name in "xywh"]
    rows: npt.NDArray[np.int32] = np.column_stack(columns)
    return [row.tobytes() for row in rows]


def _without(segment: SegmentFolder, boxes: pa.Table, raws: Collection[int]) -> None:
    people = read_sealed(segment.people, "segment", _WAY_OUT)
    for table, path in ((boxes, segment.boxes), (people, segment.people)):
        path.unlink()  # it is a second name of the file in the old folder
        left = table.filter(pa.array([raw not in raws for raw in table["raw"].to_pylist()], pa.bool_()))
        if path == segment.people:
            write_sealed(left, path)
        else:
            pq.write_table(left, path)
