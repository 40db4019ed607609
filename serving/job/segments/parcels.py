"""What a job's segments need beside the footage, sent to machines that have not its folders: each thing once
to Ray's object store and from there once to each machine, under the hash of its content.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from reid.cache import private_cache
from reid.files import atomic_directory
from serving.job.segments.tasks import SegmentTask

__all__ = ["Parcel", "packed", "unpacked", "with_own_paths"]

_KEPT_S = 86_400.0  # after which a machine drops what it was sent and has not used


@dataclass(frozen=True)
class Parcel:
    """A folder, or a file with those beside it that bear its name: ``digest`` of its content, a reference to
    it in the object store, and ``name``, which of its files is meant ('' for the folder).
    """

    digest: str
    reference: Any
    name: str


def packed(path: str, put: Callable[[dict[str, bytes]], Any]) -> Parcel:
    """Read a model directory, or the file of a detector with its weights beside it, and put it into the
    object store.
    """
    place = Path(path)
    root = place if place.is_dir() else place.parent
    files = sorted(root.rglob("*") if place.is_dir() else root.glob(f"{escape(place.stem)}.*"))
    contents = {str(one.relative_to(root)): one.read_bytes() for one in files if one.is_file()}
    whole = hashlib.sha256()
    for name, content in contents.items():
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return Parcel(whole.hexdigest()[:32], put(contents), "" if place.is_dir() else place.name)


def unpacked(parcel: Parcel, get: Callable[[Any], dict[str, bytes]]) -> str:
    """The path of a parcel's content on this machine. Of all its workers the first fetches it, into a folder
    that only this user can read.

    Raises:
        ReidError: the folder cannot be written.
    """
    root = private_cache("reid-parcels")
    folder = root / parcel.digest
    with open(root / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with atomic_directory(folder, private=True) as temporary:
                for name, content in get(parcel.reference).items():
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    (temporary / name).write_bytes(content)
        os.utime(folder)
        for other in root.iterdir():
            if other.is_dir() and time.time() - other.stat().st_mtime > _KEPT_S:
                shutil.rmtree(other, ignore_errors=True)
    return str(folder / parcel.name)


def with_own_paths(
    task: SegmentTask, path_of: Callable[[str], str], source_of: Callable[..., str]
) -> SegmentTask:
    """A task whose files are where ``path_of`` says, and its footage where ``source_of(source, version)``
    says.
    """
    job, camera = task.job, task.camera
    detector = job.detector
    if detector.model is not None:
        detector = detector.model_copy(update={"model": path_of(detector.model)})
    if camera.detections is not None:
        camera = camera.model_copy(update={"detections": path_of(camera.detections)})
    clips = tuple(
        clip if clip.index is None else replace(clip, source=source_of(clip.source, clip.index.version))
        for clip in task.footage.clips
    )
    return replace(
        task,
        job=job.model_copy(update={"model": path_of(job.model), "detector": detector}),
        camera=camera,
        footage=replace(task.footage, clips=clips),
    )
