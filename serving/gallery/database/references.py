"""New references on their way into a gallery's database."""

import time as clock
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from reid.embeddings import check_dim, check_embeddings
from reid.errors import ReidError
from serving.gallery.checks import check_name, reference_rows
from serving.gallery.database.store import Change

__all__ = ["NewReferences"]

_HASH = 5  # where the hash stands in a row


@dataclass(frozen=True, eq=False)
class NewReferences:
    """Checked references of one or more people, ready to be inserted."""

    identities: tuple[str, ...]  # one a row
    matrix: npt.NDArray[np.float32]  # (N, D)
    rows: list[tuple[object, ...]]
    now: float

    @classmethod
    def checked(
        cls,
        identities: str | Sequence[str],
        embeddings: npt.ArrayLike,
        dim: int | None,
        source: object,
        camera: object,
        time: object,
        quality: object,
    ) -> Self:
        """Check everything that can be checked without the database.

        Raises:
            ReidError: a name, an embedding or another value is wrong.
        """
        now = clock.time()
        matrix = check_embeddings(embeddings, dim)
        rows = reference_rows(matrix, source, camera, time, quality, now)
        if isinstance(identities, str):
            return cls((check_name(identities),) * len(rows), matrix, rows, now)
        if len(identities) != len(rows):
            raise ReidError(
                f"there are {len(identities)} identities for {len(rows)} embeddings: give one a row"
            )
        proper = {identity: check_name(identity) for identity in dict.fromkeys(identities)}
        return cls(tuple(proper[identity] for identity in identities), matrix, rows, now)

    def without(self, there: set[tuple[str, bytes]]) -> Self:
        """These references but for those whose name and hash are in ``there``."""
        kept = [
            index for index, row in enumerate(self.rows) if (self.identities[index], row[_HASH]) not in there
        ]
        return replace(
            self,
            identities=tuple(self.identities[i] for i in kept),
            matrix=self.matrix[kept],
            rows=[self.rows[i] for i in kept],
        )

    def insert(self, change: Change, action: str = "enroll") -> None:
        """Insert the references under the active model; ``action`` is what the audit log calls it.

        Raises:
            ReidError: the gallery's embeddings have another length.
        """
        db, counts = change.db, Counter(self.identities)
        model, dim = db.execute("SELECT id, dim FROM models WHERE active = 1").fetchone()
        check_dim(self.matrix, dim)
        db.execute("UPDATE models SET dim = ? WHERE id = ? AND dim IS NULL", (self.matrix.shape[1], model))
        new = ((identity, self.now) for identity in counts)
        db.executemany(
            "INSERT INTO people (name, enrolled_at) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", new
        )
        keys = {
            identity: db.execute("SELECT id FROM people WHERE name = ?", (identity,)).fetchone()[0]
            for identity in counts
        }
        db.executemany(
            "INSERT INTO refs (person_id, model_id, taken_at, enrolled_at, quality, source, camera, "
            "sha256, embedding) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((keys[identity], model, *row) for identity, row in zip(self.identities, self.rows, strict=True)),
        )
        for identity, count in counts.items():
            change.log(action, identity, f"{count} references")
