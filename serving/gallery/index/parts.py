"""The stored search index: FAISS's bytes in the gallery's own file, without those of references that have
left.
"""

import hashlib
import sqlite3
import time as clock
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.gallery.database.connect import DamagedError

__all__ = [
    "IndexFacts",
    "drop_index",
    "index_facts",
    "prune",
    "read_index_parts",
    "reference_ids",
    "write_index_parts",
]

_DIGEST = "index_digest"  # in the table meta
_PART_BYTES = 32 * 1024 * 1024  # SQLite holds at most 1 GB in one value


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What is known of a stored search index."""

    kind: str
    references: int
    recall: float  # of the 10 nearest references, measured when it was built
    last_id: int  # of the newest reference inside
    built_at: float


def index_facts(db: sqlite3.Connection) -> IndexFacts | None:
    """The facts of the stored index; None where there is none."""
    row = db.execute("SELECT kind, refs, recall, last_id, built_at FROM search_index").fetchone()
    return None if row is None else IndexFacts(*row)


def write_index_parts(db: sqlite3.Connection, kind: str, index: Any, last_id: int, recall: float) -> int:
    """Store an index in the place of the one before; returns its size in bytes."""
    import faiss

    drop_index(db)
    data = faiss.serialize_index(index)
    db.execute(
        "INSERT INTO search_index VALUES (1, ?, (SELECT id FROM models WHERE active = 1), ?, ?, ?, ?)",
        (kind, last_id, index.ntotal, recall, clock.time()),
    )
    parts = (
        (number, data[start : start + _PART_BYTES].tobytes())
        for number, start in enumerate(range(0, len(data), _PART_BYTES))
    )
    db.executemany("INSERT INTO search_index_parts VALUES (?, ?)", parts)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_DIGEST, _digest(data)))
    return int(data.nbytes)


def read_index_parts(db: sqlite3.Connection) -> Any:
    """The stored index."""
    import faiss

    # One array filled part by part: joining a list of parts would take the memory twice.
    size = db.execute("SELECT sum(length(data)) FROM search_index_parts").fetchone()[0]
    data = np.empty(size or 0, np.uint8)
    filled = 0
    for (part,) in db.execute("SELECT data FROM search_index_parts ORDER BY part"):
        data[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    stored = db.execute("SELECT value FROM meta WHERE key = ?", (_DIGEST,)).fetchone()
    # FAISS trusts what it reads: damaged bytes may end the process. Galleries made before there was a digest
    # have none.
    if not size or (stored is not None and stored[0] != _digest(data)):
        raise DamagedError(
            "its search index is not what was stored: build it again with `reid gallery index`"
        )
    try:
        return faiss.deserialize_index(data)
    except RuntimeError as error:
        raise DamagedError(
            "its search index cannot be read: build it again with `reid gallery index`"
        ) from error


def _digest(data: npt.NDArray[np.uint8]) -> int:
    """63 bits of a hash, which is what SQLite's integers hold."""
    return int.from_bytes(hashlib.sha256(data.data).digest()[:8], "big") >> 1


def drop_index(db: sqlite3.Connection) -> bool:
    """Take the stored index out; returns whether there was one."""
    db.execute("DELETE FROM search_index_parts")
    return db.execute("DELETE FROM search_index").rowcount > 0


def reference_ids(index: Any) -> npt.NDArray[np.int64]:
    """The ids of the references inside an index, in no order."""
    import faiss

    if hasattr(index, "id_map"):
        return faiss.vector_to_array(index.id_map)
    lists: Any = faiss.extract_index_ivf(index).invlists
    found = [
        faiss.rev_swig_ptr(lists.get_ids(one), lists.list_size(one)).copy()
        for one in range(lists.nlist)
        if lists.list_size(one)
    ]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def prune(db: sqlite3.Connection) -> None:
    """Take references that are no longer in the database out of the stored index."""
    facts = index_facts(db)
    if facts is None:
        return
    try:
        index = read_index_parts(db)
    except DamagedError:  # it must not keep anybody from being erased
        drop_index(db)
        return
    there = np.fromiter(
        (row[0] for row in db.execute("SELECT id FROM refs WHERE id <= ?", (facts.last_id,))), np.int64
    )
    gone = np.setdiff1d(reference_ids(index), there)
    if not len(gone):
        return
    index.remove_ids(gone)
    if index.ntotal:
        write_index_parts(db, facts.kind, index, facts.last_id, facts.recall)
    else:
        drop_index(db)
