"""References that cannot be right: the same picture twice, or a person who looks like somebody else already
enrolled.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from reid.embeddings import check_embeddings
from serving.gallery.index.exact import ReferenceIndex

if TYPE_CHECKING:
    from serving.gallery.gallery import Gallery

__all__ = ["Conflict", "describe", "find_conflicts"]

_SAME_PICTURE = 1e-6  # distance between embeddings of one picture


@dataclass(frozen=True, slots=True)
class Conflict:
    """A new reference and what speaks against it."""

    kind: Literal["duplicate", "contradiction"]
    identity: str  # the name it is enrolled under
    source: str
    other: str  # whom it shows as well: the same name for a duplicate
    distance: float  # Euclidean, to that person's nearest reference


def find_conflicts(
    gallery: "Gallery",
    identities: Sequence[str],
    embeddings: npt.ArrayLike,
    sources: Sequence[str],
    near: float | None,
) -> list[Conflict]:
    """What speaks against new references that are not enrolled yet.

    A duplicate has the embedding of another reference of the same name. A contradiction has that of somebody
    else, or lies within ``near`` of somebody else and not nearer to its own person.

    Args:
        gallery: opened with the embeddings' model.
        identities: (N,) the name each is to be enrolled under.
        embeddings: (N, D) L2-normalised.
        sources: (N,) where the images come from.
        near: up to which distance two are taken for one person; None: only the same picture is.

    Raises:
        ReidError: an embedding is not finite, not of norm 1, or of another dimension.
    """
    stored = gallery.index()
    matrix = check_embeddings(embeddings, stored.embeddings.shape[1] or None)
    if not len(matrix):
        return []
    names, codes = np.unique(np.asarray(identities, np.str_), return_inverse=True)
    beside = ReferenceIndex(
        0, np.arange(1, len(matrix) + 1), matrix, codes.astype(np.int64), dict(enumerate(names.tolist()))
    )
    seen: set[tuple[str, bytes]] = set()
    found = []
    for identity, row, source, before, new in zip(
        identities, matrix, sources, stored.search(matrix, 2), beside.search(matrix, 2), strict=True
    ):
        own = dict(before).get(identity, np.inf)
        if (identity, row.tobytes()) in seen or own <= _SAME_PICTURE:
            found.append(Conflict("duplicate", identity, source, identity, 0.0))
        seen.add((identity, row.tobytes()))
        # Of two new people who look alike, the later name is said to look like the earlier one.
        others = [(distance, name) for name, distance in before if name != identity]
        others += [(distance, name) for name, distance in new if name < identity]
        distance, other = min(others, default=(np.inf, ""))
        if distance <= _SAME_PICTURE or (near is not None and distance <= near and distance < own):
            found.append(Conflict("contradiction", identity, source, other, distance))
    return found


def describe(conflicts: Sequence[Conflict], identities: Sequence[str], known: frozenset[str]) -> list[str]:
    """A line for each person about whom there is something to say.

    Args:
        conflicts: of :func:`find_conflicts`.
        identities: as given there.
        known: the names that were enrolled before.
    """
    counts = Counter(identities)
    lines = []
    for (kind, identity, other), count in Counter(
        (one.kind, one.identity, one.other) for one in conflicts
    ).items():
        of = f"{count} of {counts[identity]} images"
        if kind == "duplicate":
            lines.append(
                f"{identity!r}: {of} are the same picture as another of the same name: one of each is enough"
            )
        elif identity in known:
            lines.append(
                f"{identity!r} looks like {other!r} ({of}): move them with `reid gallery split` if "
                "they show somebody else"
            )
        elif 2 * count >= counts[identity] or any(
            one.distance <= _SAME_PICTURE for one in conflicts if one.identity == identity
        ):
            lines.append(f"{identity!r} looks like {other!r} ({of}): merge the two if they are one person")
    return lines
