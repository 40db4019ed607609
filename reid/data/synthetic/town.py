"""A whole synthetic town on disk: crops to train on, footage with truth to be tested on, and what everybody
looks like.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.cameras import build_camera
from reid.data.synthetic.crops import pose_in_crop, render_crop
from reid.data.synthetic.footage import render_footage, write_video
from reid.data.synthetic.hours import camera_starts
from reid.data.synthetic.people import attribute_names, look_alike_of, sample_person
from reid.data.synthetic.seeds import generator
from reid.data.synthetic.spec import TownSpec
from reid.data.synthetic.views import floor_of
from reid.data.synthetic.work import Task, work_off
from reid.errors import UsageError
from reid.files import atomic_directory, write_json

__all__ = ["crop_poses", "generate_town"]

_CROP_NAME, _FOOTAGE_NAME = re.compile(r"\d{4}_c\d+_\d{3}\.jpg"), re.compile(r"camera\d+\.(webm|txt)")


def generate_town(
    spec: TownSpec,
    out: Path,
    test_identities: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
    processes: int = 1,
) -> None:
    """Render a town into ``out``; equal arguments give equal bytes, whatever ``processes``. Other files there
    stay as they are.

    Writes ``crops/{identity:04d}_c{camera}_{n:03d}.jpg``, ``footage/camera{c}.webm`` with its truth
    ``footage/camera{c}.txt`` in MOTChallenge 2015 format (ids are identities), and ``town.json`` with the
    spec, everybody's attributes, who is in the footage, when each camera's clock started, and, where cameras
    share a ground, the homography of each from its picture to metres there.

    Args:
        spec: how much to render.
        out: the folder; an earlier town there is replaced.
        test_identities: who may appear in the footage, from 1 to ``spec.people``; ``spec.footage_people`` of
            them do.
        progress: called with images and frames done, and how many there are.
        processes: how many render; see `reid.data.synthetic.work.work_off`.

    Raises:
        UsageError: ``test_identities`` has too few people or somebody the town does not have, or
            ``out/crops`` holds other files.
    """
    out = Path(out)
    actors = _choose_actors(spec, test_identities)
    _refuse_strange_files(out)
    frames = round(spec.footage_seconds * spec.footage_fps)
    total = spec.cameras * (spec.people * spec.images_per_camera + frames)
    done = 0
    # town.json goes first and comes back last, so that a town that was interrupted has none.
    (out / "town.json").unlink(missing_ok=True)
    with atomic_directory(out / "crops") as crops, atomic_directory(out / "footage") as footage:
        tasks: list[Task] = [
            partial(_write_footage, spec, actors, footage, camera) for camera in range(1, spec.cameras + 1)
        ]
        tasks += [partial(_write_crops, spec, crops, identity) for identity in range(1, spec.people + 1)]
        for made in work_off(tasks, processes):
            done += made
            if progress is not None:
                progress(done, total)
    write_json(out / "town.json", _describe(spec, actors))


def crop_poses(spec: TownSpec) -> dict[str, tuple[float, ...]]:
    """The pose in every crop by its file's name: see :func:`reid.data.synthetic.crops.pose_in_crop`."""
    cameras = {
        number: build_camera(spec.seed, number, spec.footage_width, spec.footage_height)
        for number in range(1, spec.cameras + 1)
    }
    each = product(range(1, spec.people + 1), cameras.items(), range(spec.images_per_camera))
    return {
        _crop_name(identity, number, n): pose_in_crop(spec, identity, camera, n)
        for identity, (number, camera), n in each
    }


def _crop_name(identity: int, camera: int, n: int) -> str:
    return f"{identity:04d}_c{camera}_{n:03d}.jpg"


def _choose_actors(spec: TownSpec, test_identities: Sequence[int]) -> list[int]:
    known = sorted({int(identity) for identity in test_identities})
    strangers = [identity for identity in known if not 1 <= identity <= spec.people]
    if strangers:
        raise UsageError(f"test_identities has {strangers[0]}, but the town's people are 1 to {spec.people}")
    if len(known) < spec.footage_people:
        raise UsageError(
            f"test_identities has {len(known)} people, fewer than footage_people "
            f"{spec.footage_people}: name more or lower footage_people"
        )
    order = [known[i] for i in generator(spec.seed, "actors").permutation(len(known))]
    alike = _dressed_alike(order, round(spec.look_alikes * spec.footage_people))
    return sorted((alike + [identity for identity in order if identity not in alike])[: spec.footage_people])


def _dressed_alike(order: Sequence[int], most: int) -> list[int]:
    """Up to so many people of whom each has a look-alike among them, group by group in the given order."""
    chosen: list[int] = []
    for first in dict.fromkeys(look_alike_of(identity) or identity for identity in order):
        group = [identity for identity in order if (look_alike_of(identity) or identity) == first][
            : most - len(chosen)
        ]
        chosen += group if len(group) > 1 else []
    return chosen


def _refuse_strange_files(out: Path) -> None:
    for folder, own in (("crops", _CROP_NAME), ("footage", _FOOTAGE_NAME)):
        strange = sorted(path.name for path in (out / folder).glob("[!.]*") if not own.fullmatch(path.name))
        if strange:
            raise UsageError(
                f"{out / folder} holds {strange[0]}, which is not of a synthetic town: give another "
                "folder or move it away"
            )


def _write_crops(spec: TownSpec, folder: Path, identity: int) -> Iterator[None]:
    for camera, n in product(range(1, spec.cameras + 1), range(spec.images_per_camera)):
        (folder / _crop_name(identity, camera, n)).write_bytes(_jpeg_crop(spec, identity, camera, n))
        yield


def _jpeg_crop(spec: TownSpec, identity: int, camera: int, n: int) -> bytes:
    quality = build_camera(spec.seed, camera, spec.footage_width, spec.footage_height).jpeg_quality
    quality = max(round(quality * (1 - 0.9 * spec.compression)), 5)
    crop = cv2.cvtColor(render_crop(spec, identity, camera, n), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def _write_footage(spec: TownSpec, actors: Sequence[int], folder: Path, camera: int) -> Iterator[None]:
    lines: list[str] = []

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        for frame, boxes in render_footage(spec, camera, actors):
            lines.extend(box.as_mot() + "\n" for box in boxes)
            yield frame

    size = spec.footage_width, spec.footage_height
    yield from write_video(
        folder / f"camera{camera}.webm", frames(), *size, spec.footage_fps, spec.compression
    )
    (folder / f"camera{camera}.txt").write_text("".join(lines), encoding="ascii")


def _describe(spec: TownSpec, actors: Sequence[int]) -> dict[str, object]:
    people = {}
    for identity in range(1, spec.people + 1):
        vector = [round(float(value), 4) for value in sample_person(spec.seed, identity).as_vector()]
        people[f"{identity:04d}"] = {"vector": vector, "look_alike_of": look_alike_of(identity)}
    floors = {}
    for number in range(1, spec.cameras + 1):
        camera = build_camera(spec.seed, number, spec.footage_width, spec.footage_height)
        floor = floor_of(camera, spec.views, spec.cameras)
        if floor is not None:
            floors[str(number)] = floor.tolist()
    return {
        "spec": asdict(spec),
        "attributes": list(attribute_names()),
        "people": people,
        "footage_identities": list(actors),
        "camera_start": {
            str(number): start.isoformat() for number, start in enumerate(camera_starts(spec), 1)
        },
        "floor": floors,
    }
