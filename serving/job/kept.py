"""What a finished job has seen, kept in its output: with another gallery or threshold people are named anew,
not detected anew.

Two things are kept apart. What decides what is *seen* (footage, detector, tracker, crops, model and runtime)
stands in the ledger beside the segments: segments of an equal ledger are taken up. What decides who that *is*
(gallery, threshold, policy, joining, earlier jobs, outputs) is hashed with it into ``inputs`` of job.json:
where that is equal too, nothing is left to do.

A stream, or anything else behind a URL, may be another one each time: nothing of it is taken up from a
finished job.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reid.addresses import redacted
from reid.errors import ReidError, UsageError
from reid.files import read_json, sha256_of
from reid.model_files import PAIR_METRIC
from reid.parquet import read_parquet
from serving.gallery import Gallery, key_from_environment
from serving.job.encryption import is_sealed, read_sealed, write_sealed
from serving.job.layout import JobFolder, SegmentFolder, WorkFolder, open_job
from serving.job.record import DoneRecord, DrawnRecord, SeenRecord
from serving.job.segments.camera import CameraState
from serving.job.segments.frame_choice import LOOKS
from serving.job.segments.segment import DECODED, planned_segment
from serving.job.segments.tables import NO_ROWS, PEOPLE
from serving.protocols import is_stored, is_stream
from serving.runtime import Embedder
from serving.spec import Camera, Job, source_files
from serving.stores import listed
from serving.video import Footage

__all__ = [
    "finished_with",
    "inputs_of",
    "keep",
    "ledger_of",
    "link",
    "link_rest",
    "stored_runs",
    "take_up",
    "take_video",
]

# raised when detection, tracking or embedding come to something else, so that nothing older is taken up
_FORMAT = 3
_WAY_OUT = "it is done again"


def ledger_of(job: Job, embedder: Embedder, segment_s: float) -> dict[str, Any]:
    """What tells whether stored segments are what this job would see."""
    others = [
        name
        for name in (job.detector.model, *(camera.detections for camera in job.cameras))
        if name is not None
    ]
    return {
        "format": _FORMAT,
        "seen_key": job.seen_key(),
        "fingerprint": embedder.fingerprint,
        "backend": embedder.backend,
        "precision": embedder.precision,
        "segment_s": segment_s,
        "files": [_version(camera) for camera in job.cameras]
        # By content: on another machine that goes on with the job they have another time.
        + [[name, sha256_of(name)] for name in others],
    }


def _version(camera: Camera) -> list[list[Any]]:
    try:
        if is_stored(camera.source):
            return [[redacted(name), version] for name, version in listed(camera.source).items()]
        sources = source_files(camera)
    except ReidError:
        return []
    return [[redacted(name), *_size_and_time(name)] for name in sources]


def _size_and_time(source: str | Path) -> list[int]:
    if is_stream(str(source)) or not Path(source).is_file():
        return []
    facts = Path(source).stat()
    return [facts.st_size, facts.st_mtime_ns]


def inputs_of(job: Job, ledger: dict[str, Any], decision: dict[str, Any], gallery: Gallery) -> str | None:
    """A hash of everything that the output is made from; None where nobody can tell whether that is still the
    same.
    """
    if any(is_stream(camera.source) for camera in job.cameras):
        return None
    metric = _size_and_time(Path(job.model) / PAIR_METRIC) if job.rescore else []
    earlier = [_size_and_time(JobFolder(Path(folder)).strangers) for folder in job.earlier]
    people = [astuple(person) for person in gallery.people()]
    value = [job.key(), ledger, decision, gallery.version, people, metric, earlier]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def finished_with(out: Path, inputs: str | None) -> DoneRecord | None:
    """The record of a finished job from these inputs that lacks nothing, neither of its footage nor of what
    it wrote; else None.
    """
    if inputs is None or not JobFolder(out).record.is_file():
        return None
    try:
        record = open_job(out, DoneRecord).record
    except ReidError:  # of an earlier version, or damaged: it is written anew
        return None
    whole = all((out / name).exists() for name in record.written)
    return record if record.inputs == inputs and not record.problems and whole else None


def keep(work: WorkFolder, folder: JobFolder) -> None:
    """Put the segments of a job into its output, without a second copy of their bytes where the disk can do
    that. What a machine without the key has stored, is encrypted where there is one here.
    """
    shutil.copytree(work.path, folder.kept.path, copy_function=link)
    if key_from_environment() is None:
        return
    for path in folder.kept.path.glob(f"*/{SegmentFolder(Path()).people.name}"):
        if not is_sealed(path):
            table = read_parquet(path, "segment", _WAY_OUT)
            path.unlink()  # it is a second name of the file in the work folder
            write_sealed(table, path)


def take_up(out: Path, work: WorkFolder, ledger: dict[str, Any], dim: int) -> None:
    """Make ``work`` from the segments in a finished job's output, if they are of this ledger; what is damaged
    there is left out.
    """
    kept = JobFolder(out).kept
    source = kept.path
    if not source.is_dir() or source.is_symlink() or kept.read_ledger() != ledger:
        return
    # Named as what a killed job leaves, so that the next one clears it away.
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for folder in sorted(source.iterdir()):
            if folder.is_dir() and not folder.is_symlink() and _is_whole(SegmentFolder(folder), dim):
                shutil.copytree(folder, temporary / folder.name, copy_function=link)
        os.replace(temporary, work.path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def stored_runs(
    job: Job, record: SeenRecord, folder: JobFolder, clocks: dict[str, datetime]
) -> list[CameraState]:
    """The cameras of a finished job as far as naming people needs them, from what is kept and without the
    footage.

    Args:
        job: as its record says it.
        record: of the job.
        folder: its output.
        clocks: clock time of the first frame, of cameras that have one.

    Raises:
        UsageError: nothing is kept.
        ReidError: what is kept is damaged, or not all of what the job has seen.
    """
    ledger = folder.kept.read_ledger()
    if not ledger:
        raise UsageError(
            f"{folder.path} holds no {folder.kept.path.name}: nobody can be named anew without the footage; "
            "run reid match again"
        )
    runs = [_stored_run(camera, ledger, record, folder.kept, clocks.get(camera.id)) for camera in job.cameras]
    frames = sum(counts["frames"] for run in runs for counts in run.counts.values())
    if ledger.get("seen_key") != record.seen_key or frames != record.counts.frames:
        raise ReidError(f"{folder.kept.path} is not all of what the job has seen: run reid match again")
    return runs


def _stored_run(
    camera: Camera, ledger: dict[str, Any], record: SeenRecord, kept: WorkFolder, clock: datetime | None
) -> CameraState:
    mark = f"camera {camera.id}: "
    problems, notes = (
        [line.removeprefix(mark) for line in lines if line.startswith(mark)]
        for lines in (record.problems, record.notes)
    )
    run = CameraState(camera.model_copy(update={"start_time": clock}), problems=problems, notes=notes)
    facts = record.counts.cameras.get(camera.id)
    if facts is None or None in (facts.fps, facts.width, facts.height):
        return run  # it could not be read
    run.footage = Footage((), float(facts.fps or 0), int(facts.width or 0), int(facts.height or 0))
    for folder in kept.segments_of(camera.id):
        if not _is_whole(folder, _dim_of(folder)):
            raise ReidError(f"segment {folder.path} is damaged: run reid match again")
        index = int(folder.path.name.rpartition("-")[2])
        segment = planned_segment(camera, run.footage, float(ledger["segment_s"]), index)
        run.segments.append(segment)
        run.counts[segment.name] = read_json(folder.counts, "segment record")
    return run


def _dim_of(folder: SegmentFolder) -> int:
    rows = read_sealed(folder.people, "segment", _WAY_OUT, columns=("embedding",))["embedding"]
    return len(rows[0]) if len(rows) else 0


def link_rest(folder: Path, target: Path, anew: Collection[Path]) -> None:
    """Put all of an output folder into another, without a second copy of its bytes, but for what is written
    ``anew``.
    """
    for path in folder.iterdir():
        if path in anew:
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name, copy_function=link)
        else:
            link(str(path), str(target / path.name))


def link(source: str, target: str) -> None:
    """A second name of a file, or a copy where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copyfile(source, target)


def _is_whole(folder: SegmentFolder, dim: int) -> bool:
    try:
        counts = read_json(folder.counts, "segment record")
        read_parquet(folder.boxes, "segment", _WAY_OUT, schema=NO_ROWS.schema, filled=NO_ROWS.column_names)
        people = read_sealed(folder.people, "segment", _WAY_OUT, schema=PEOPLE, filled=PEOPLE.names)
    except ReidError:
        return False
    numbers = (
        isinstance(counts, dict)
        and all(_is_count(counts.get(name)) for name in ("frames", "crops"))
        and isinstance(counts.get("missing"), list)
        and all(_is_count(number) for number in counts["missing"])
        and isinstance(counts.get("seconds"), dict)
        and all(isinstance(one, int | float) for one in counts["seconds"].values())
        and isinstance(counts.get(LOOKS), dict)
        and all(_is_count(number) for number in counts[LOOKS].values())
        and isinstance(decoded := counts.get(DECODED, {}), dict)
        and all(_is_count(number) for number in decoded.values())
    )
    lists = {"embedding": dim, "head": 8, "tail": 8, "best_box": 4}
    return numbers and all(_all_of(people[name], length) for name, length in lists.items())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _all_of(column: pa.ChunkedArray, length: int) -> bool:
    """Whether all lists of a column have this length and finite numbers."""
    values = pc.list_flatten(column)
    right = pc.all(pc.equal(pc.list_value_length(column), length), min_count=0).as_py()
    return bool(right and pc.all(pc.is_finite(values), min_count=0).as_py() and not values.null_count)


def take_video(camera: str, before: JobFolder, folder: JobFolder, height: int | None) -> float | None:
    """Take over the annotated video of an earlier output of the same footage if the same is drawn on it; its
    start in seconds, else None.

    ``folder`` is the new output, which has its table of boxes.
    """
    video = before.video(camera)
    try:
        record = open_job(before.path, DrawnRecord).record
        of_camera = record.counts.cameras.get(camera)
        start_s = None if of_camera is None else of_camera.video_start_s
        if start_s is None or record.job.outputs.video_height != height or video.is_symlink():
            return None
        if _boxes_digest(before.detections.absolute(), camera) != _boxes_digest(
            folder.detections.absolute(), camera
        ):
            return None
        link(str(video), str(folder.video(camera)))
    except (ReidError, pa.ArrowException, OSError, ValueError, KeyError):  # it is drawn anew
        return None
    return start_s


def _boxes_digest(path: Path, camera: str) -> list[str]:
    digests = {name: hashlib.sha256() for name in ("frame", "tracklet", "identity", "x", "y", "w", "h")}
    with pq.ParquetFile(path) as file:
        # A little at a time: a long job has millions.
        for batch in file.iter_batches(columns=["camera", *digests]):
            rows = batch.filter(pc.equal(batch["camera"], camera))
            for name, digest in digests.items():
                column = rows[name]
                text = name == "identity"
                digest.update(
                    json.dumps(column.to_pylist())[1:-1].encode() + b","
                    if text
                    else column.to_numpy().tobytes()
                )
    return [digest.hexdigest() for digest in digests.values()]
