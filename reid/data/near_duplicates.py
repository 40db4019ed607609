"""Pictures that look the same though their bytes differ: compressed again, resized, or saved in another
format.
"""

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["difference_hashes", "near_duplicates"]

_BANDS = 4
_FLIPPED = 3
_DIFFERENCE = 4.0
_BLOCK = 512


def near_duplicates(thumbnails: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Find pictures that look like an earlier one.

    Candidates agree in all but `_FLIPPED` of the 64 bits of a difference hash (each pixel against its right
    neighbour): those share at least one of four 16-bit bands, so only equal bands are compared. Thumbnails
    then differ by less than `_DIFFERENCE` grey levels on average, which two frames of somebody who walks do
    not.

    Args:
        thumbnails: (N, H, W, 3) uint8.

    Returns:
        (earlier, later) pairs of indices, one for each later picture, sorted by it.
    """
    hashes = difference_hashes(thumbnails)
    first: dict[int, int] = {}
    for band in range(_BANDS):
        keys = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=np.uint64(0x10000)))
        for group in np.split(order, starts[1:]):
            if len(group) > 1:
                _compare(group, hashes, thumbnails, first)
    return sorted(((earlier, later) for later, earlier in first.items()), key=lambda pair: pair[1])


def difference_hashes(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """64 bits a picture: whether brightness grows to the right, on a 8 x 9 grid."""
    hashes = np.empty(len(thumbnails), np.uint64)
    weights = np.uint64(1) << np.arange(64, dtype=np.uint64)
    for index, thumbnail in enumerate(thumbnails):
        grid = cv2.resize(
            cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_LINEAR
        ).astype(np.int16)
        hashes[index] = weights[(grid[:, 1:] > grid[:, :-1]).ravel()].sum()
    return hashes


def _compare(
    group: npt.NDArray[np.intp],
    hashes: npt.NDArray[np.uint64],
    thumbnails: npt.NDArray[np.uint8],
    first: dict[int, int],
) -> None:
    """All pairs of a group, in blocks so that memory stays bounded; keeps the earliest partner of each
    picture.
    """
    for start in range(0, len(group), _BLOCK):
        rows = group[start : start + _BLOCK]
        for other in range(0, start + 1, _BLOCK):
            columns = group[other : other + _BLOCK]
            flipped = np.bitwise_count(hashes[rows, None] ^ hashes[None, columns])
            later, earlier = np.nonzero((flipped <= _FLIPPED) & (rows[:, None] > columns[None]))
            for one, two in zip(rows[later].tolist(), columns[earlier].tolist(), strict=True):
                if two < first.get(one, one):
                    apart = np.abs(thumbnails[one].astype(np.int16) - thumbnails[two]).mean()
                    if apart < _DIFFERENCE:
                        first[one] = two
