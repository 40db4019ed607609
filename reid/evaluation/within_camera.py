"""Where nobody is seen by two cameras: earlier images of a person against later ones of the same camera.
NumPy, no torch.

Two images of a burst are nearly the same picture, and finding one by the other says nothing. So a person's
images are put in order of time (or of their numbers), those between the earlier and the later ones are left
out, and the two parts count as two cameras for every figure.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid.evaluation.checks import is_junk

__all__ = ["WITHIN_CAMERA", "Views", "gallery_apart", "seen_by_two", "views"]

WITHIN_CAMERA = (
    "nobody is seen by two cameras: figures are within the camera, each person's earlier images "
    "against the later "
    "ones, neighbours in time left out"
)

Strings = npt.NDArray[np.str_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Views:
    """Which images to rank, and by which cameras."""

    rows: Rows  # (K,) of the N images
    cameras: Strings  # (K,)
    within: bool  # whether these are parts of a camera, not cameras


def seen_by_two(identities: Strings, cameras: Strings) -> bool:
    """Whether any person, junk aside, is in the images (N,) of more than one camera."""
    kept = ~is_junk(identities)
    pairs = np.unique(np.stack([identities[kept].astype(np.str_), cameras[kept].astype(np.str_)]), axis=1)
    return bool((np.unique(pairs[0], return_counts=True)[1] > 1).any()) if pairs.size else False


def views(identities: Strings, cameras: Strings, order: Rows) -> Views:
    """All images by their cameras where somebody is seen by two; elsewhere each person's earlier and later
    images.

    Of n images in order the ``neighbours(n)`` in the middle are left out; what comes before and after counts
    as seen by two cameras. Who has two images alone, which are neighbours, has no match, unless nobody has
    more.

    Args:
        identities: (N,).
        cameras: (N,).
        order: (N,) any numbers that rise with time within a camera.
    """
    if seen_by_two(identities, cameras):
        return Views(np.arange(len(identities)), cameras, False)
    people = list(_in_order(identities, cameras, order).values())
    fewest = 3 if any(len(rows) > 2 for rows in people) else 2
    kept: list[int] = []
    names: dict[int, str] = {}
    for rows in people:
        gap = neighbours(len(rows)) if fewest == 3 else 0
        left = -(-(len(rows) - gap) // 2) if len(rows) >= fewest else len(rows)
        parts = (rows[:left], rows[left + gap :] if len(rows) >= fewest else rows[:0])
        for part, word in zip(parts, ("earlier", "later"), strict=True):
            kept += part
            names |= {row: f"{cameras[row]}, {word}" for row in part}
    chosen = np.asarray(sorted(kept), np.int64)
    return Views(chosen, np.asarray([names[row] for row in chosen.tolist()], np.str_), True)


def neighbours(images: int) -> int:
    """How many images on either side of one count as its neighbours, of so many of one person in one camera:
    an eighth, at least one.
    """
    return max(1, images // 8)


def gallery_apart(
    query_ids: Strings,
    query_cams: Strings,
    query_order: Rows,
    gallery_ids: Strings,
    gallery_cams: Strings,
    gallery_order: Rows,
) -> Rows:
    """Rows of the gallery that are no neighbours of a query of their person in their camera.

    Args:
        query_ids: (Q,), and so are the cameras and the numbers that follow.
        query_cams: (Q,).
        query_order: (Q,) numbers on one scale with ``gallery_order``.
        gallery_ids: (G,).
        gallery_cams: (G,).
        gallery_order: (G,).
    """
    count = len(query_ids)
    identities, cameras = np.concatenate([query_ids, gallery_ids]), np.concatenate([query_cams, gallery_cams])
    people = list(_in_order(identities, cameras, np.concatenate([query_order, gallery_order])).values())
    crowded = any(len(rows) > 2 for rows in people)
    near: set[int] = set()
    for rows in people:
        gap = neighbours(len(rows)) if crowded else 0
        for place, row in enumerate(rows):
            if row < count:
                near.update(rows[max(0, place - gap) : place + gap + 1])
    return np.asarray([row for row in range(len(gallery_ids)) if row + count not in near], np.int64)


def _in_order(identities: Strings, cameras: Strings, order: Rows) -> dict[tuple[str, str], list[int]]:
    """Rows of each person in each camera, in order."""
    people: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in np.argsort(order, kind="stable").tolist():
        people[str(identities[row]), str(cameras[row])].append(row)
    return people
