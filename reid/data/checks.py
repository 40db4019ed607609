"""Every image opened once before it is trusted; what is wrong is listed by name and dealt with by policy,
nothing is silently dropped.
"""

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from reid.data.catalog import DISTRACTOR, JUNK, Record, readable
from reid.data.datasets.files import Stray
from reid.data.findings import KINDS, Policy, Problem
from reid.data.image_check import THUMBNAIL, Opened, open_image
from reid.data.near_duplicates import near_duplicates
from reid.errors import ReidError

__all__ = ["Inspection", "inspect"]

Row = dict[str, object]
_WINDOW = 1024  # images under way at once: memory stays bounded whatever the set's size


@dataclass(frozen=True)
class Inspection:
    """What is left and what was found; ``len(rows)`` and the problems' ``images_out`` sum up to
    ``images_in``.
    """

    rows: list[Row]
    problems: list[Problem]
    images_in: int


def inspect(
    records: Sequence[Record],
    folder: Path,
    policies: Mapping[str, Policy],
    progress: Callable[[int, int], None] | None = None,
    strays: Sequence[Stray] = (),
) -> Inspection:
    """Open each image, then look at the set as a whole.

    Junk (identity -1) is left out whatever the reader. Distractors (0000) are moved to the gallery: nobody is
    trained on them.

    Args:
        records: what a reader found.
        folder: where the catalog will lie, absolute; images beside it or below it are stored by relative
            path.
        policies: what to do about each kind of `reid.data.findings.KINDS`: ``stop``, ``leave_out`` or
            ``keep``.
        progress: called with (done, total).
        strays: files that the reader found and made no record of; they count as images found and left out.

    Raises:
        ReidError: something is found whose policy is ``stop``; the message names it.
    """
    found = _Findings(policies)
    for stray in strays:
        found.note(stray.kind, readable(stray.path), stray.detail, 1)
    images_in = len(records) + len(strays)
    records = _set_apart(records, found)
    rows: list[Row] = []
    first_of: dict[str, Record] = {}
    kept: list[Record] = []
    thumbnails = np.empty((len(records), *THUMBNAIL), np.uint8)
    for done, (record, opened) in enumerate(_opened(records), 1):
        out = found.about_image(record, opened.findings)
        twin = first_of.setdefault(opened.sha256, record) if opened.sha256 and not out else record
        if twin is not record:
            out = found.about_image(
                record, [(_twin_kind(twin, record), f"same bytes as {readable(twin.path)}")]
            )
        if not out and opened.thumbnail is not None:
            thumbnails[len(rows)] = opened.thumbnail
            rows.append(_row(record, folder, opened))
            kept.append(record)
        if progress is not None:
            progress(done, len(records))
    rows = _without(rows, _look_alikes(rows, kept, thumbnails[: len(rows)], found))
    for check in (_identities_in_two_camps, _lonely_identities, _queries_without_match):
        rows = _without(rows, check(rows, found))
    return Inspection(rows, found.problems, images_in)


class _Findings:
    """Notes each finding with what its policy does about it."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self.policies = policies
        self.problems: list[Problem] = []

    def note(self, kind: str, what: str, detail: str, images: int) -> bool:
        """List a finding that concerns so many images; whether they are left out."""
        policy = self.policies[kind]
        if policy == "stop":
            choice = "leave_out" if "leave_out" in KINDS[kind].choices else "keep"
            raise ReidError(
                f"{KINDS[kind].title}: {what}: {detail}; correct the data, or set data.policies.{kind} "
                f"to {choice}"
            )
        out = policy == "leave_out"
        self.problems.append(Problem(kind, policy, what, detail, images if out else 0))
        return out

    def about_image(self, record: Record, findings: Sequence[tuple[str, str]]) -> bool:
        """List an image's findings; whether it is left out. It counts once, however much is wrong with it."""
        out = False
        for kind, detail in findings:
            out = self.note(kind, readable(record.path), detail, 0 if out else 1) or out
        return out


def _set_apart(records: Sequence[Record], found: _Findings) -> list[Record]:
    """Without junk, and with the distractors in the gallery or left out."""
    kept = [
        record
        for record in records
        if record.identity != JUNK or not found.about_image(record, [("junk", "identity -1")])
    ]
    distractors = sum(record.identity == DISTRACTOR for record in kept)
    if not distractors:
        return kept
    detail = (
        f"{distractors:,} image{'s' * (distractors > 1)} of people whom nobody looks for; if that is one "
        "person, give another number"
    )
    if found.note("distractor", f"identity {DISTRACTOR}", detail, distractors):
        return [record for record in kept if record.identity != DISTRACTOR]
    return [replace(record, split="gallery") if record.identity == DISTRACTOR else record for record in kept]


def _opened(records: Sequence[Record]) -> Iterator[tuple[Record, Opened]]:
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Corrupt EXIF", UserWarning)  # it is among the findings
        for start in range(0, len(records), _WINDOW):
            window = records[start : start + _WINDOW]
            yield from zip(window, pool.map(open_image, [record.path for record in window]), strict=True)


def _row(record: Record, folder: Path, opened: Opened) -> Row:
    row = asdict(record) | {
        "path": _stored(record.path, folder),
        "width": opened.width,
        "height": opened.height,
        "sha256": opened.sha256,
    }
    return {key: value for key, value in row.items() if value is not None}


def _stored(path: Path, folder: Path) -> str:
    """An image's path as the catalog has it: relative to ``folder`` for what lies beside or below it, so that
    a project can be cloned.

    Links are left as they are: to DVC an image may be a link into its cache.
    """
    path = path.resolve() if ".." in path.parts else path.absolute()
    return Path(os.path.relpath(path, folder) if path.is_relative_to(folder.parent) else path).as_posix()


def _twin_kind(twin: Record, record: Record) -> str:
    if twin.split != record.split:
        return "split_leak"
    return "identity_conflict" if twin.identity != record.identity else "duplicate"


def _without(rows: list[Row], left_out: set[int]) -> list[Row]:
    return [row for index, row in enumerate(rows) if index not in left_out] if left_out else rows


def _look_alikes(
    rows: list[Row], records: list[Record], thumbnails: np.ndarray, found: _Findings
) -> set[int]:
    left_out = set()
    for earlier, later in near_duplicates(thumbnails):
        one, two = records[earlier], records[later]
        if rows[earlier]["sha256"] != rows[later]["sha256"]:  # equal bytes are listed already
            first = f"{readable(one.path)} ({one.split}, identity {one.identity})"
            detail = f"looks like {first}; this one is in {two.split}, identity {two.identity}"
            if found.note("near_duplicate", readable(two.path), detail, 1):
                left_out.add(later)
    return left_out


def _identities_in_two_camps(rows: list[Row], found: _Findings) -> set[int]:
    splits: dict[str, set[str]] = defaultdict(set)
    training: dict[str, set[int]] = defaultdict(set)
    for index, row in enumerate(rows):
        identity, split = str(row["identity"]), str(row["split"])
        splits[identity].add(split)
        if split in ("train", "val"):
            training[identity].add(index)
    left_out: set[int] = set()
    for identity in sorted(splits.keys() - {DISTRACTOR}):
        camps = {"test" if split in ("query", "gallery") else split for split in splits[identity]}
        if len(camps) > 1:
            detail = f"it is in {', '.join(sorted(splits[identity]))}"
            if found.note("identity_in_train_and_test", identity, detail, len(training[identity])):
                left_out |= training[identity]
    return left_out


def _lonely_identities(rows: list[Row], found: _Findings) -> set[int]:
    """People with one image or one camera; a set with one camera has only such, which is said once."""
    cameras: dict[str, set[str]] = defaultdict(set)
    images: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        cameras[str(row["identity"])].add(str(row["camera"]))
        images[str(row["identity"])].append(index)
    one_camera = len(set().union(*cameras.values())) == 1
    left_out: set[int] = set()
    for identity in sorted(images.keys() - {DISTRACTOR}):
        lonely = "single_camera" if len(cameras[identity]) == 1 and not one_camera else None
        if len(images[identity]) == 1:
            lonely = "single_image"
        if lonely is not None:
            of = (
                f"in {len(images[identity])} image{'s' * (len(images[identity]) > 1)} from camera "
                f"{min(cameras[identity])}"
            )
            if found.note(lonely, identity, of, len(images[identity])):
                left_out.update(images[identity])
    return left_out


def _queries_without_match(rows: list[Row], found: _Findings) -> set[int]:
    every_camera = Counter(str(row["camera"]) for row in rows)
    if len(every_camera) == 1:
        detail = f"every image is from camera {min(every_camera)}, so that figures are within the camera"
        found.note("one_camera", "the whole set", detail, 0)
        return set()
    seen: dict[object, set[object]] = defaultdict(set)
    for row in rows:
        if row["split"] == "gallery":
            seen[row["identity"]].add(row["camera"])
    queries = [row for row in rows if row["split"] == "query"]
    if queries and not any(seen[row["identity"]] - {row["camera"]} for row in queries):
        detail = (
            f"nobody among the {len(queries)} queries is in the gallery from another camera, so "
            "that figures are within the cameras"
        )
        found.note("no_match", "the whole set", detail, 0)
    return set()
