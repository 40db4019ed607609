"""People of the wardrobe as files, for the stages and for anybody's own trainings."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2

from reid.data.synthetic.wardrobe.crops import render_person
from reid.data.synthetic.wardrobe.spec import WardrobeSpec
from reid.data.synthetic.work import Task, work_off
from reid.files import atomic_directory

__all__ = ["PATTERN", "write_people"]

PATTERN = r"(?P<identity>\d{5})_c(?P<camera>\d{4})_"
_QUALITY = 97  # of the JPEG; what cameras do to a picture is in it already
_TOGETHER = 20  # people a task


def write_people(
    spec: WardrobeSpec, out: Path, progress: Callable[[int, int], None] | None = None, processes: int = 1
) -> None:
    """Write all crops of a spec as ``{person:05d}_c{camera:04d}_{n:02d}.jpg`` into ``out``, people and
    cameras numbered from 1, whole or not at all; a folder that is there is replaced. Equal arguments give
    equal bytes, whatever ``processes``.

    Args:
        spec: what to render.
        out: the folder.
        progress: called with images done and how many there are.
        processes: how many render; see `reid.data.synthetic.work.work_off`.
    """
    total, done = spec.people * spec.images_per_person, 0
    with atomic_directory(out) as folder:
        starts = range(0, spec.people, _TOGETHER)
        tasks: list[Task] = [
            partial(_write, spec, range(start, min(start + _TOGETHER, spec.people)), folder)
            for start in starts
        ]
        for made in work_off(tasks, processes):
            done += made
            if progress is not None:
                progress(done, total)


def _write(spec: WardrobeSpec, people: range, folder: Path) -> Iterator[None]:
    for person in people:
        for crop in render_person(spec, person):
            name = f"{crop.person + 1:05d}_c{crop.camera + 1:04d}_{crop.n:02d}.jpg"
            encoded = cv2.imencode(".jpg", crop.image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1]
            (folder / name).write_bytes(encoded.tobytes())
            yield
