"""Every image opened once before it is trusted; what is wrong is listed by name, nothing is silently dropped."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from reid.data.catalog import Record

__all__ = ["Problem", "inspect", "set_problems"]

_TINY = 8  # pixels; below this there is no person to see


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: ``error`` keeps the image out, ``warning`` keeps it in."""

    level: str
    kind: str
    what: str
    detail: str


def inspect(
    records: Sequence[Record], folder: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[list[dict[str, object]], list[Problem]]:
    """Decode each image and return catalog rows for the good ones and a problem for each bad one.

    Args:
        records: what a reader found.
        folder: where the catalog will lie; images below it are stored by relative path.
        progress: called with (done, total).

    Returns:
        Catalog rows, and the problems; rows + problems of level ``error`` = records.
    """
    rows: list[dict[str, object]] = []
    problems: list[Problem] = []
    first_of: dict[str, Record] = {}
    with ThreadPoolExecutor() as pool:
        for done, (record, (size, digest, reason)) in enumerate(zip(records, pool.map(_open, (r.path for r in records)), strict=True), 1):
            if reason:
                problems.append(Problem("error", reason, str(record.path), "the image is left out of the catalog"))
            else:
                twin = first_of.setdefault(digest, record)
                if twin is not record:
                    problems.append(_duplicate(twin, record))
                rows.append(_row(record, folder, size, digest))
            if progress is not None:
                progress(done, len(records))
    return rows, problems


def _open(path: Path) -> tuple[tuple[int, int], str, str]:
    """(width, height), SHA-256 and the reason why the image cannot be used, empty when it can."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return (0, 0), "", f"unreadable ({error.strerror})"
    if not data:
        return (0, 0), "", "zero-byte file"
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return (0, 0), "", "not an image"
    height, width = image.shape[:2]
    if min(height, width) < _TINY:
        return (width, height), "", f"tiny image ({width}x{height})"
    return (width, height), hashlib.sha256(data).hexdigest(), ""


def _row(record: Record, folder: Path, size: tuple[int, int], digest: str) -> dict[str, object]:
    path = record.path.resolve()
    stored = path.relative_to(folder) if path.is_relative_to(folder) else path
    row = asdict(record) | {"path": stored.as_posix(), "width": size[0], "height": size[1], "sha256": digest}
    return {key: value for key, value in row.items() if value is not None}


def _duplicate(twin: Record, record: Record) -> Problem:
    if twin.split != record.split:
        kind = "same picture in two splits"
    elif twin.identity != record.identity:
        kind = "same picture under two identities"
    else:
        kind = "duplicate"
    return Problem("warning", kind, str(record.path), f"same bytes as {twin.path}")


def set_problems(rows: Sequence[dict[str, object]]) -> list[Problem]:
    """What is wrong with the set as a whole: people in training and test, one camera only, people with a single image or camera."""
    problems = []
    splits: dict[str, set[str]] = defaultdict(set)
    cameras: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for row in rows:
        identity = str(row["identity"])
        splits[identity].add(str(row["split"]))
        cameras[identity].add(str(row["camera"]))
        counts[identity] += 1
    for identity in sorted(splits):
        if "train" in splits[identity] and splits[identity] & {"query", "gallery", "val"}:
            problems.append(Problem("error", "identity in training and test", identity, f"in {', '.join(sorted(splits[identity]))}"))
        if counts[identity] == 1:
            problems.append(Problem("warning", "identity with one image", identity, "it can be nobody's positive"))
        elif len(cameras[identity]) == 1:
            problems.append(Problem("warning", "identity with one camera", identity, "no cross-camera match exists"))
    every_camera = sorted(set().union(*cameras.values()))
    if len(every_camera) == 1:
        detail = f"every image is from camera {every_camera[0]}, and same-camera images of a person are dropped"
        problems.append(Problem("error", "one camera", "the whole set", f"no query will have a match, because {detail}"))
    return problems
