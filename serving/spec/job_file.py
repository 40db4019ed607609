"""From a job file to a checked job with absolute paths, and from a camera to its files."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reid.addresses import is_url
from reid.errors import ReidError, UsageError
from reid.files import existing, read_yaml
from reid.shipped import named_model
from reid.system_errors import shown
from serving.natural_order import natural_key
from serving.protocols import is_stored
from serving.spec.models import Camera, Job
from serving.stores import listed

__all__ = ["check_job", "load_job", "source_files"]


def load_job(path: Path | str) -> Job:
    """Read and check a job file.

    Raises:
        UsageError: the file is missing, is not YAML, has an unknown, missing or wrong key, or names a file
            that does not exist.
    """
    path = Path(path)
    raw = read_yaml(path, "job file")
    if not isinstance(raw, dict):
        raise UsageError(f"job file {path} holds no keys: it wants at least cameras and model")
    return check_job(raw, path.parent.resolve(), f"job file {path}")


def check_job(raw: dict[str, Any], folder: Path, what: str) -> Job:
    """A job from its keys.

    Args:
        raw: as a job file holds them.
        folder: that paths are relative to.
        what: where the keys are from, for the message.

    Raises:
        UsageError: a key is unknown, missing or wrong, or names a file that does not exist.
    """
    try:
        job = Job.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"{what}: {_first_problem(error)}") from error
    return _absolute(job, folder)


def _first_problem(error: ValidationError) -> str:
    # Only the key and the message: the offending value might be a URL with a password.
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}: check its spelling"
    if first["type"] == "missing":
        return f"missing key {key!r}"
    if first["type"] == "model_type":  # as of `idle: false`
        return f"{key}: want keys with values below it, as docs/reference/job.md has them"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _absolute(job: Job, folder: Path) -> Job:
    def absolute(name: str) -> str:
        if "\0" in name:
            raise UsageError(f"job file: {name!r} is no path")
        try:
            return str(folder / Path(name).expanduser())
        except RuntimeError as error:
            raise UsageError(
                f"job file: {shown(name)}: there is no such user on this machine, write the path out"
            ) from error

    def camera(one: Camera) -> Camera:
        source = one.source if is_url(one.source) else absolute(one.source)
        detections = None if one.detections is None else absolute(one.detections)
        if detections is not None:
            existing(detections, f"camera {one.id}: detection file")
        return one.model_copy(update={"source": source, "detections": detections})

    detector = job.detector
    if detector.model is not None:
        detector = detector.model_copy(
            update={"model": str(existing(absolute(detector.model), "detector model"))}
        )
    model = existing(named_model(Path(absolute(job.model)), job.model), "model directory")
    gallery = None if job.gallery is None else str(existing(absolute(job.gallery), "gallery"))
    return job.model_copy(
        update={
            "cameras": tuple(camera(one) for one in job.cameras),
            "model": str(model),
            "gallery": gallery,
            "earlier": tuple(str(existing(absolute(one), "earlier job")) for one in job.earlier),
            "detector": detector,
        }
    )


def source_files(camera: Camera) -> list[str]:
    """The files of a camera in order, or its one URL.

    Raises:
        ReidError: no file is there.
    """
    if is_stored(camera.source):
        return list(listed(camera.source))
    if is_url(camera.source) or Path(camera.source).is_file():
        return [camera.source]
    pattern = Path(camera.source)
    found = [
        str(name)
        for name in Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
        if name.is_file()
    ]
    if not found:
        raise ReidError(f"video {camera.source} does not exist: check the path")
    return sorted(found, key=natural_key)
