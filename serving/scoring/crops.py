"""Crops of known people out of footage with truth: what a gallery is enrolled from and a threshold calibrated
on.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from reid.errors import ReidError
from reid.files import atomic_directory
from reid.mot import read_mot
from serving.tracking import cut
from serving.video import frames_ahead, open_footage, unseen

__all__ = ["cut_crops"]

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95]


def cut_crops(
    video: Path | str,
    truth: Path | str,
    out_dir: Path | str,
    frames: tuple[int, int] | None = None,
    every: int = 1,
    camera: int = 1,
    min_visible: float = 0.5,
    on_problem: Callable[[str], None] = lambda line: None,
) -> int:
    """Cut the boxes of a MOTChallenge truth file out of a video into ``{id:04d}_c{camera}_f{frame:06d}.jpg``.

    Args:
        video: the footage.
        truth: boxes with identities; rows with confidence 0 do not count.
        out_dir: written whole or not at all; must not exist or be empty.
        frames: first and last frame, counted from 1, both included; all when None.
        every: take every n-th frame.
        camera: the camera's number in the file names.
        min_visible: boxes of which less than this share lies inside the picture are left out.
        on_problem: called with a line for whatever of the footage is missing or damaged.

    Returns:
        How many crops were written.

    Raises:
        UsageError: a file does not exist.
        ReidError: the video cannot be read, the folder is not empty, or no box is in these frames.
    """
    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ReidError(f"crop folder {out_dir} is not empty: name a new folder")
    by_frame = read_mot(truth).by_frame()
    footage = open_footage([str(video)])
    first, last = frames or (1, footage.frames)
    # those that have come are taken out
    wanted = dict.fromkeys(range(first, min(last, footage.frames or last) + 1, every))
    promised, written = len(wanted), 0
    with atomic_directory(out_dir, private=True) as folder:
        for frame in frames_ahead(footage, first, last, every):
            wanted.pop(frame.number, None)
            rows = by_frame.get(frame.number)
            if rows is None:
                continue
            height, width = frame.image.shape[:2]
            size = rows.xyxy[:, 2:] - rows.xyxy[:, :2]
            inside = np.clip(rows.xyxy, 0, [width, height, width, height])
            visible = np.prod(inside[:, 2:] - inside[:, :2], axis=1) / np.maximum(np.prod(size, axis=1), 1e-9)
            for i in np.flatnonzero((rows.confidence != 0) & (visible >= min_visible)):
                name = f"{int(rows.id[i]):04d}_c{camera}_f{frame.number:06d}.jpg"
                data = cv2.imencode(".jpg", cut(frame.image, rows.xyxy[i], 10**6), _JPEG)[1].tobytes()
                (folder / name).write_bytes(data)
                written += 1
        if not written:
            raise ReidError(
                f"truth {truth} has no box in frames {first} to {last} of {video}: check the frames"
            )
    for problem in footage.missing:
        on_problem(problem)
    if wanted:
        lost = list(wanted)
        ends = next((i for i in range(1, len(lost)) if lost[i] - lost[i - 1] > every), len(lost)) - 1
        on_problem(f"video {video}: {unseen(len(lost), promised, lost[0], lost[ends])}")
    return written
