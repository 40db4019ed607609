"""What a job settles before its first frame: where it writes, how it decides, what its cameras have. What
cannot be used is said here, before the work.
"""

import re
import shutil
from contextlib import ExitStack
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reid.addresses import redacted
from reid.card import ModelCard, load_card
from reid.errors import ReidError, UsageError
from reid.files import is_there, write_json
from serving.gallery import CompactIndex, Gallery, key_from_environment
from serving.gallery.index.build import LEAST
from serving.job.kept import take_up
from serving.job.layout import JobFolder, WorkFolder, open_job
from serving.job.record import FinishedRecord, JobFacts
from serving.job.segments.camera import CameraState
from serving.job.segments.segment import plan_segments
from serving.runtime import present_backends
from serving.spec import Camera, Job, source_files
from serving.tracking import SPARSE_S
from serving.video import open_footage, with_decoder

__all__ = [
    "check_output",
    "decision_of",
    "decision_threshold",
    "facts_of",
    "open_gallery",
    "prepare_camera",
    "remove_if_empty",
    "search_index",
    "stored_backend",
    "work_folder",
]

_MOST_NEWER = 0.2  # of the references: what an index finds was measured without those that came later


def check_output(job: Job, out: Path) -> None:
    """Refuse an output folder that holds something else than this job's earlier output.

    Raises:
        UsageError: it does.
    """
    if out.is_symlink():
        raise UsageError(f"output {out} is a link: name the folder that it points to")
    if not out.name or out.name == ".." or Path.cwd().is_relative_to(out.resolve()):
        raise UsageError(f"output {out} is the present folder or above it: name a new folder")
    if not is_there(out, "output") or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise UsageError(f"output {out} is a file: name a folder")
    if not JobFolder(out).record.is_file():
        raise UsageError(
            f"output folder {out} holds something else than a job's output: name an empty or new folder"
        )
    record = open_job(out, FinishedRecord).record
    if record.job_key != job.key() and record.seen_key != job.seen_key():
        raise UsageError(f"output folder {out} is that of another job: name a new folder or remove it")


def decision_threshold(job: Job, card: ModelCard) -> tuple[float, str]:
    """The distance up to which a name is given, and where it is from: the job, or the model card.

    Raises:
        UsageError: neither says.
    """
    if job.threshold is not None:
        return job.threshold, "job"
    for unit in ("tracklet", "image"):
        calibrated = card.threshold(job.policy, unit, job.top_k)
        if calibrated is not None:
            return calibrated.distance, f"model card, calibrated for one {unit}"
    of = f" of {job.top_k}" if job.policy == "top_k" else ""
    raise UsageError(
        f"model {job.model} has no calibrated threshold for the policy {job.policy!r}{of}: run reid "
        f"calibrate {job.model} with pictures of people or a video, or set threshold in the job (--threshold)"
    )


def decision_of(job: Job, threshold: float, origin: str) -> dict[str, Any]:
    """How names are given, as the record says it; ``origin``: where the threshold is from."""
    return {
        "policy": job.policy,
        "top_k": job.top_k,
        "ratio_test": job.ratio_test,
        "rescore": job.rescore,
        "threshold": threshold,
        "from": origin,
    }


def facts_of(
    job: Job,
    model: dict[str, Any],
    gallery: Gallery,
    decision: dict[str, Any],
    inputs: str | None,
    index: CompactIndex | None = None,
) -> JobFacts:
    """What is known of a job before it is done; ``model`` as in the record, ``index`` where the gallery is
    searched by it.
    """
    people = sorted(person.identity for person in gallery.people())
    return JobFacts.model_validate(
        {
            "job": job.public(),
            "job_key": job.key(),
            "seen_key": job.seen_key(),
            "inputs": inputs,
            "model": model,
            "gallery": {
                "version": gallery.version,
                "identities": people,
                "references": gallery.counted()[0],
                "index": None if index is None else {"kind": index.facts.kind, "recall": index.facts.recall},
            },
            "decision": decision,
        }
    )


def open_gallery(job: Job, fingerprint: str, opened: ExitStack) -> Gallery:
    """The job's gallery; one with nobody in it where the job names none, so that all that follows is the same
    for both.
    """
    if job.gallery is not None:
        known = Gallery.open(
            job.gallery, fingerprint, create=False, key=key_from_environment(), read_only=True
        )
    else:
        folder = opened.enter_context(TemporaryDirectory(prefix="reid-gallery-"))
        known = Gallery.open(Path(folder) / "nobody.db", fingerprint, create=True)
    opened.enter_context(known)
    return known


def search_index(job: Job, gallery: Gallery) -> tuple[CompactIndex | None, list[str]]:
    """The gallery's index, where it is large enough to be searched by it, and what is to be said of that. All
    references are read now where it is not: what is wrong in them is said before the work, not after it.
    """
    references, newer = gallery.counted()
    notes: list[str] = []
    if references > job.index_above:
        why_not = ""
        if job.rescore or job.policy != "min":
            why_not = "rescore" if job.rescore else f"the policy {job.policy}"
            why_not = f"{why_not} looks at all of somebody's references, not at the nearest alone"
        elif newer is None and references < LEAST:
            why_not = f"none is built of fewer than {LEAST} references"
        elif newer is None:
            why_not = "it has none, `reid gallery index` builds it"
        elif newer > _MOST_NEWER * references:
            why_not = f"{newer} came after it was built, `reid gallery index` builds it anew"
        if not why_not:
            return gallery.compact_index(rows_in_memory=False), notes
        notes.append(f"gallery: all its {references} references are read, its index is not used: {why_not}")
    gallery.index()
    return None, notes


def stored_backend(job: Job, out: Path) -> str:
    """The runtime to open the model with: that of the stored segments, so that all rows of a job are made by
    one.
    """
    if job.backend != "auto":
        return job.backend
    stored = [folder.read_ledger().get("backend") for folder in (WorkFolder.of(out), JobFolder(out).kept)]
    named = [backend for backend in stored if isinstance(backend, str)]
    present = present_backends(load_card(Path(job.model)), job.precision) if named else {}
    return next((backend for backend in named if backend in present), job.backend)


def work_folder(out: Path, ledger: dict[str, Any], dim: int) -> WorkFolder:
    """Where segments are stored: with those of an interrupted or finished run whose ledger is equal.

    Raises:
        UsageError: something else is in its place.
    """
    stored = WorkFolder.of(out)
    work = stored.path
    if work.is_symlink() or (work.exists() and not work.is_dir()):
        raise UsageError(f"{work} is in the way of the segments that are stored there: move it")
    if work.exists() and stored.read_ledger() != ledger:
        if not stored.ledger.is_file() and any(
            not path.name.startswith(".ledger") for path in work.iterdir()
        ):
            raise UsageError(f"{work} is in the way and not from an earlier run: move it")
        shutil.rmtree(work)
    if not work.exists():
        take_up(out, stored, ledger, dim)
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What a job that was killed while it wrote its output left of it.
    for half in (
        path
        for path in out.parent.glob(f".{escape(out.name)}-*")
        if re.fullmatch(r"[a-z0-9_]{8}", path.name[len(out.name) + 2 :])
    ):
        shutil.rmtree(half, ignore_errors=True)
    write_json(stored.ledger, ledger)
    return stored


def remove_if_empty(work: WorkFolder) -> None:
    """Remove a work folder without a segment: there is nothing to go on with."""
    if work.path.is_dir() and all(path.is_file() for path in work.path.iterdir()):
        shutil.rmtree(work.path)


def prepare_camera(camera: Camera, job: Job, segment_s: float) -> CameraState:
    """A camera with its footage opened and cut into segments, or with the problem that it has."""
    run = CameraState(camera)
    try:
        run.footage = open_footage(source_files(camera), job.stall_s, camera.frame_rate, camera.file_starts)
    except ReidError as error:
        run.problems.append(str(error))
        return run
    run.problems += run.footage.missing
    run.notes += run.footage.notes
    run.footage, decoding = with_decoder(run.footage, camera.decode)
    run.notes += [decoding] if decoding else []
    period_s = camera.step / run.footage.fps
    if period_s > SPARSE_S:
        how = (
            "followed by appearance more than by place"
            if job.link.enabled
            else "hardly followed, for link.enabled is false"
        )
        run.notes.append(f"frames are {period_s:.2g} s apart: people are {how}")
    if camera.start_time is None and run.footage.start is not None:
        run.camera = camera.model_copy(update={"start_time": run.footage.start})
    if run.footage.live:
        return run  # its segments come with the time
    run.segments = plan_segments(camera, run.footage, segment_s)
    if not run.segments and camera.frames is not None:
        run.problems.append(
            f"frames {list(camera.frames)} are not in video {redacted(camera.source)}, which has "
            f"{run.footage.frames}"
        )
    return run
