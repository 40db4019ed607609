"""The annotated video of a camera, made from its footage and the table of its boxes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reid.processors import processors
from serving.gallery import UNKNOWN
from serving.job.layout import JobFolder, xyxy_of
from serving.job.segments.camera import CameraState
from serving.video import STALL_S, Label, annotate_all, join_webm, pictures_ahead

__all__ = ["write_video"]

_LEAST_FRAMES = 150  # of a part that is encoded on its own


def write_video(
    run: CameraState, folder: JobFolder, max_height: int | None, stall_s: float = STALL_S
) -> float | None:
    """Write a camera's annotated video into an output folder that has its table of boxes.

    Returns the time of its first frame in the footage; None where there is no video: of a stream, which
    cannot be read twice.

    Raises:
        ReidError: the footage cannot be read any more, or gives nothing for ``stall_s`` seconds.
    """
    if run.footage is None or run.footage.live or not run.segments:
        return None
    footage, step = run.footage, run.camera.step
    numbers = range(run.segments[0].first, (run.segments[-1].last or footage.frames) + 1, step)
    path = folder.video(run.camera.id)
    parts = _parts(numbers)

    def write_part(index: int) -> float | None:
        part = parts[index]
        labels = _Labels(folder.detections, run.camera.id)
        pictures = pictures_ahead(footage, part[0], part[-1], step, stall_s)
        target = path if len(parts) == 1 else pieces[index]
        return annotate_all(
            target, pictures, labels.at, (footage.width, footage.height), footage.fps / step, max_height
        )

    pieces = [folder.video_part(run.camera.id, index) for index in range(len(parts))]
    try:
        # Decoding, drawing and encoding are all done outside the interpreter's lock.
        with ThreadPoolExecutor(processors()) as pool:
            starts = list(pool.map(write_part, range(len(parts))))
        if len(parts) > 1:
            join_webm(
                path,
                [(piece, start) for piece, start in zip(pieces, starts, strict=True) if start is not None],
            )
    finally:
        for piece in pieces:
            piece.unlink(missing_ok=True)
    return next((start for start in starts if start is not None), None)


def _parts(numbers: range) -> list[range]:
    """Equal stretches of frames, as many as there are processors, none of them short."""
    count = max(1, min(processors(), len(numbers) // _LEAST_FRAMES))
    length = -(-len(numbers) // count)
    return [numbers[begin : begin + length] for begin in range(0, len(numbers), length)]


class _Labels:
    """What is written on each frame, read from the table a little ahead of the frame that is asked for."""

    def __init__(self, path: Path, camera: str) -> None:
        self._batches = self._read(path, camera)
        self._waiting: dict[int, list[Label]] = {}
        self._until = -1

    def at(self, number: int) -> list[Label]:
        """The labels of a frame; frames are asked for in rising order."""
        # Boxes filled in across a segment's border stand in the batch after it, which is thus read too.
        while self._until < number and (batch := next(self._batches, None)) is not None:
            self._until = self._take(batch)
        for old in [frame for frame in self._waiting if frame < number]:
            del self._waiting[old]
        return self._waiting.pop(number, [])

    @staticmethod
    def _read(path: Path, camera: str) -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                if table.num_rows and table["camera"][0].as_py() == camera:
                    yield table

    def _take(self, table: pa.Table) -> int:
        columns = [table[name].to_pylist() for name in ("frame", "tracklet", "identity")]
        for frame, number, identity, box in zip(*columns, xyxy_of(table, np.float64).tolist(), strict=True):
            key = None if identity == UNKNOWN else identity
            self._waiting.setdefault(frame, []).append(Label(tuple(box), f"{identity} #{number}", key))
        return int(columns[0][0])
