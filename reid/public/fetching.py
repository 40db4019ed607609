"""All files of a public model in a folder, checked, with a record of what was got."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.addresses import redacted
from reid.errors import ReidError, UsageError
from reid.files import atomic_path, read_json, write_json
from reid.public.catalogue import PublicFile, PublicModel
from reid.public.download import check_file, download

__all__ = ["RECORD", "Fetched", "fetch_model"]

RECORD = "fetched.json"


@dataclass(frozen=True)
class Fetched:
    """A file that is there now.

    Attributes:
        path: where.
        sha256: of what is there.
        checked: whether it was held against a published hash.
        new: whether it was not there before.
    """

    path: Path
    sha256: str
    checked: bool
    new: bool


def fetch_model(
    name: str,
    model: PublicModel,
    folder: Path,
    *,
    mirror: str | None = None,
    source: Path | None = None,
    progress: Callable[[str], Callable[[int, int], None] | None] = lambda file: None,
) -> list[Fetched]:
    """Put a model's files into a folder; those that are there and right stay.

    Args:
        name: of the model.
        model: what is known of it.
        folder: made where it is not there.
        mirror: an address below which ``NAME/FILE`` lie, instead of the publisher's.
        source: a file already on this machine, or a folder with the files, instead of any address.
        progress: a file's name to what takes (bytes there, bytes in all), or to None.

    Returns:
        The files in order. ``fetched.json`` in the folder says the same, with addresses.

    Raises:
        UsageError: the source has no such file.
        ReidError: a file cannot be had, or is not the one that was published.
    """
    known = _recorded(folder)
    got = []
    for file in model.files:
        path = folder / file.name
        address = (
            str(source) if source else f"{mirror.rstrip('/')}/{name}/{file.name}" if mirror else file.url
        )
        there = _right_already(path, file, known)
        if there is not None:
            got.append(Fetched(path, there, file.digest is not None, new=False))
            continue
        if source is not None:
            sha256 = _copy(source, path, file, model)
        else:
            sha256 = download(address, path, digest=file.digest, update=progress(file.name))
        got.append(Fetched(path, sha256, file.digest is not None, new=True))
        known[file.name] = {"sha256": sha256, "from": redacted(address), "licence": model.licence}
        write_json(folder / RECORD, {"model": name, "files": known})
    return got


def _recorded(folder: Path) -> dict[str, Any]:
    if not (folder / RECORD).is_file():
        return {}
    record = read_json(folder / RECORD, "record of what was fetched")
    files = record.get("files") if isinstance(record, dict) else None
    return files if isinstance(files, dict) else {}


def _right_already(path: Path, file: PublicFile, known: dict[str, Any]) -> str | None:
    """SHA-256 of a file that is there and is the published one, or where no hash is published the one that
    was fetched before.
    """
    if not path.is_file():
        return None
    try:
        sha256 = check_file(path, file.digest, file.name)
    except ReidError:
        return None
    recorded = known.get(file.name)
    before = recorded.get("sha256") if isinstance(recorded, dict) else None
    return sha256 if file.digest is not None or sha256 == before else None


def _copy(source: Path, path: Path, file: PublicFile, model: PublicModel) -> str:
    if source.is_dir():
        found = source / file.name
    elif len(model.files) == 1:
        found = source
    else:
        names = ", ".join(one.name for one in model.files)
        raise UsageError(f"--from {source} is one file, and the model has {names}: name the folder with them")
    if not found.is_file():
        raise UsageError(f"--from {source}: {found} is not there: check the path")
    sha256 = check_file(found, file.digest, str(found))
    with atomic_path(path) as temporary:
        shutil.copyfile(found, temporary)
    return sha256
