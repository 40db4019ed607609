"""Blurred heads: copies of crops on which nobody is known by the face."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.catalog import readable
from reid.files import atomic_directory
from reid.images import read_image

__all__ = ["HEAD_SHARE", "blur_head", "store_blurred"]

Image = npt.NDArray[np.uint8]
Row = dict[str, object]
HEAD_SHARE = 0.2
"""Share of a crop's height, from the top, that is blurred: the head and, where the box is loose, the neck.

A face in a crop is often ten pixels wide, which no detector finds reliably; a head is where a head is.
"""
_ACROSS, _WINDOW = 7, 1024


def blur_head(image: Image) -> Image:
    """A copy of an image (H, W, 3) uint8 whose upper `HEAD_SHARE` is sampled at seven places across and
    smoothed.
    """
    height, width = image.shape[:2]
    rows = max(1, round(HEAD_SHARE * height))
    # Few samples, not a wide filter: a filter can be undone in part, samples that are gone cannot.
    across = min(_ACROSS, width)
    coarse = cv2.resize(
        image[:rows], (across, max(1, round(across * rows / width))), interpolation=cv2.INTER_AREA
    )
    result = image.copy()
    result[:rows] = cv2.resize(coarse, (width, rows), interpolation=cv2.INTER_LINEAR)
    return result


def store_blurred(
    rows: Sequence[Row], folder: Path, out: Path, progress: Callable[[int, int], None] | None = None
) -> list[Row]:
    """Write blurred copies of a catalog's images into ``out``, below ``folder``; it is replaced whole, and
    may be where they come from.

    Args:
        rows: of a catalog that lies in ``folder``; their images have been checked.
        folder: what relative paths are relative to.
        out: gets ``0000000_NAME.png`` and so on.
        progress: called with (done, total).

    Returns:
        Rows that point to the copies, upright RGB, with the copies' hashes.

    Raises:
        ReidError: an image can no longer be decoded.
    """
    with atomic_directory(out, private=True) as temporary, ThreadPoolExecutor() as pool:

        def store(numbered: tuple[int, Row]) -> Row:
            number, row = numbered
            source = folder / str(row["path"])
            data = cv2.imencode(".png", blur_head(read_image(source))[..., ::-1])[1].tobytes()
            name = f"{number:07d}_{readable(source.stem)}.png"
            (temporary / name).write_bytes(data)
            return row | {
                "path": (out.relative_to(folder) / name).as_posix(),
                "sha256": hashlib.sha256(data).hexdigest(),
            }

        result: list[Row] = []
        numbered = list(enumerate(rows))
        for start in range(0, len(numbered), _WINDOW):
            for stored in pool.map(store, numbered[start : start + _WINDOW]):
                result.append(stored)
                if progress is not None:
                    progress(len(result), len(rows))
    return result
