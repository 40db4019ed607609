"""Queries of a gallery's database: who is in it, what is stored of them, and is every row what it should
be.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.gallery.checks import digest
from serving.gallery.database.connect import DamagedError
from serving.gallery.index.exact import ReferenceIndex

__all__ = [
    "AuditEntry",
    "Person",
    "Reference",
    "Removal",
    "VerifyReport",
    "active_references",
    "audit_log",
    "older_than",
    "people",
    "read_index",
    "read_rows",
    "references_of",
    "rows_of",
    "verify",
]

_LARGEST_ID = 2**30  # far beyond what was ever enrolled; arrays are as long as the largest
_LATEST = 253_402_300_800  # seconds since 1970: the year 10000
_PART = 16_384  # rows that are worked on at a time: as many as a product of matrices is fast with
_CHUNK = 128  # rows read at a time: few enough to stay in the processor's cache on their way into the array


@dataclass(frozen=True, slots=True)
class Person:
    """One enrolled person. Times are seconds since 1970, UTC."""

    identity: str
    references: int
    cameras: tuple[str, ...]
    enrolled_at: float
    first_taken_at: float
    last_taken_at: float


@dataclass(frozen=True, slots=True)
class Reference:
    """What is known of one reference image, without its embedding."""

    id: int
    source: str
    camera: str
    taken_at: float
    quality: float
    enrolled_at: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when, to whom."""

    at: float
    who: str
    action: str
    identity: str
    detail: str
    version: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken out. ``purged`` is False while the old bytes are still in the file or its log:
    another process reads it, or the disk is full.
    """

    removed: dict[str, int]  # references taken from each person
    purged: bool


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check of every row found; ``problems`` is empty when all is well."""

    version: int
    people: int
    references: int
    problems: tuple[str, ...]


def people(db: sqlite3.Connection) -> list[Person]:
    """Everybody, by name."""
    rows = db.execute(
        "SELECT p.name, count(r.id), json_group_array(DISTINCT r.camera), p.enrolled_at, "
        "min(r.taken_at), max(r.taken_at) "
        "FROM people p JOIN refs r ON r.person_id = p.id JOIN models m ON m.id = r.model_id AND "
        "m.active = 1 GROUP BY p.id ORDER BY p.name"
    )
    return [Person(name, count, _cameras(cameras), *times) for name, count, cameras, *times in rows]


def _cameras(json_array: str) -> tuple[str, ...]:
    return tuple(sorted(camera for camera in json.loads(json_array) if camera))


def references_of(db: sqlite3.Connection, person: int) -> list[Reference]:
    """The references of one person, oldest entry first."""
    rows = db.execute(
        "SELECT r.id, r.source, r.camera, r.taken_at, r.quality, r.enrolled_at FROM refs r "
        "JOIN models m ON m.id = r.model_id AND m.active = 1 WHERE r.person_id = ? ORDER BY r.id",
        (person,),
    )
    return [Reference(*row) for row in rows]


def audit_log(db: sqlite3.Connection) -> list[AuditEntry]:
    """All that was done, oldest first."""
    return [
        AuditEntry(*row)
        for row in db.execute("SELECT at, who, action, identity, detail, version FROM audit ORDER BY id")
    ]


_ACTIVE = "FROM refs WHERE model_id = (SELECT id FROM models WHERE active = 1)"


def read_index(
    db: sqlite3.Connection, version: int, dim: int | None, before: ReferenceIndex | None
) -> ReferenceIndex:
    """The references of the active model as arrays; those of ``before`` are taken over and only newer ones
    read.
    """
    last = before.last_id if before else 0
    where = "FROM refs WHERE id > ? AND model_id = (SELECT id FROM models WHERE active = 1)"
    count = db.execute(f"SELECT count(*) {where}", (last,)).fetchone()[0]
    old = len(before.embeddings) if before else 0
    embeddings = np.empty((old + count, dim or 0), np.float32)
    keys, owners = np.empty(old + count, np.int64), np.empty(old + count, np.int64)
    if before:
        embeddings[:old] = before.embeddings
        keys[:old], owners[:old] = before.ids, before.people
    cursor = db.execute(f"SELECT id, person_id, embedding {where} ORDER BY id", (last,))
    filled, norm_error = old, before.norm_error if before else 0.0
    while rows := cursor.fetchmany(_CHUNK):
        ids, persons, blobs = zip(*rows, strict=True)
        end = filled + len(rows)
        embeddings[filled:end] = rows_of(ids, blobs, dim or 0)
        keys[filled:end], owners[filled:end] = ids, persons
        new = embeddings[filled:end]
        # fmax passes over a damaged row that is no number.
        norm_error = float(np.fmax.reduce(np.abs(np.einsum("ij,ij->i", new, new) - 1), initial=norm_error))
        filled = end
    names: dict[int, str] = dict(db.execute("SELECT id, name FROM people"))
    nobodys = np.setdiff1d(owners, np.fromiter(names, np.int64, len(names)))
    if len(nobodys) or (len(keys) and not 0 < int(keys.max()) < _LARGEST_ID):
        raise DamagedError(
            "a reference is nobody's" if len(nobodys) else "its references have impossible ids"
        )
    for array in (embeddings, keys, owners):
        array.flags.writeable = False
    return ReferenceIndex(version, keys, embeddings, owners, names, norm_error)


def active_references(db: sqlite3.Connection) -> npt.NDArray[np.int64]:
    """The ids (N,) of the references that are searched, rising."""
    return np.fromiter((row[0] for row in db.execute(f"SELECT id {_ACTIVE} ORDER BY id")), np.int64)


def count_references(db: sqlite3.Connection, after: int = 0) -> int:
    """How many references are searched, of those with an id above ``after``."""
    return int(db.execute(f"SELECT count(*) {_ACTIVE} AND id > ?", (after,)).fetchone()[0])


def read_rows(
    db: sqlite3.Connection,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """The references that are searched, some thousands at a time in order of their ids: ids (n,), whose they
    are (n,), embeddings (n, D).
    """
    dim = db.execute("SELECT dim FROM models WHERE active = 1").fetchone()[0]
    cursor = db.execute(f"SELECT id, person_id, embedding {_ACTIVE} ORDER BY id")
    while rows := cursor.fetchmany(_PART):
        ids, people, blobs = zip(*rows, strict=True)
        yield np.asarray(ids, np.int64), np.asarray(people, np.int64), rows_of(ids, blobs, dim or 0)


def rows_of(ids: Sequence[int], blobs: Sequence[bytes], dim: int) -> npt.NDArray[np.float32]:
    """Stored embeddings (N, D) of references.

    Raises:
        DamagedError: one has another length.
    """
    wrong = [
        key
        for key, blob in zip(ids, blobs, strict=True)
        if not isinstance(blob, bytes) or len(blob) != 4 * dim
    ]
    if wrong:
        raise DamagedError(f"reference {wrong[0]} has not {dim} numbers, see `reid gallery verify`")
    return np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), dim)


def older_than(db: sqlite3.Connection, moment: float) -> dict[str, int]:
    """How many references of each person were taken before ``moment``; one that two models embedded counts
    once.
    """
    rows = db.execute(
        (
            "SELECT p.name, count(*) FROM refs r JOIN people p ON p.id = r.person_id WHERE r.taken_at < ? "
            "AND r.twin IS NULL GROUP BY p.id"
        ),
        (moment,),
    )
    return dict(rows.fetchall())


def verify(db: sqlite3.Connection, version: int) -> VerifyReport:
    """Check the database's structure and the length, norm and hash of every embedding."""
    problems = [row[0] for row in db.execute("PRAGMA integrity_check(10)") if row[0] != "ok"]
    problems += [
        f"table {table}, row {row}: refers to a missing row of {parent}"
        for table, row, parent, _ in db.execute("PRAGMA foreign_key_check")
    ]
    rows = db.execute(
        "SELECT r.id, p.name, m.dim, r.embedding, r.sha256, r.taken_at FROM refs r "
        "LEFT JOIN people p ON p.id = r.person_id LEFT JOIN models m ON m.id = r.model_id"
    )
    for key, name, dim, embedding, stored, taken_at in rows:
        fault = _fault(embedding, dim)
        fault = fault or ("differs from its hash" if digest(embedding) != stored else None)
        timed = isinstance(taken_at, (int, float)) and 0 <= taken_at < _LATEST
        fault = fault or (None if timed else "was taken at no time that there is")
        if fault:
            problems.append(f"reference {key} of {name!r} {fault}: remove and enroll again")
    for texts in ("SELECT source, camera FROM refs", "SELECT who, action, identity, detail FROM audit"):
        for _ in db.execute(texts):  # SQLite says which text is not UTF-8
            pass
    if any(not 0 < key < _LARGEST_ID for (key,) in db.execute("SELECT id FROM refs")):
        problems.append("its references have impossible ids: restore a copy")
    apart = db.execute(
        "SELECT r.id, t.id FROM refs r JOIN refs t ON t.id = r.twin WHERE t.person_id != r.person_id"
    )
    problems += [
        f"references {one} and {other} are one image of two people: split or merge them"
        for one, other in apart
    ]
    empty = db.execute("SELECT name FROM people WHERE id NOT IN (SELECT person_id FROM refs)")
    problems += [f"{name!r} has no reference: remove or enroll again" for (name,) in empty]
    counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("people", "refs")]  # noqa: S608
    return VerifyReport(version, counts[0], counts[1], tuple(problems))


def _fault(embedding: object, dim: int | None) -> str | None:
    """What is wrong with a stored embedding. In a damaged file a value may be of any type."""
    if not isinstance(embedding, bytes) or dim is None or len(embedding) != 4 * dim:
        return "has the wrong length"
    norm = float(np.linalg.norm(np.frombuffer(embedding, "<f4").astype(np.float64)))
    if not np.isfinite(norm):
        return "holds NaN or infinity"
    return f"has norm {norm:.4g}" if abs(norm - 1) > 1e-2 else None
