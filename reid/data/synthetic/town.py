"""A whole synthetic town on disk: crops to train on, footage with truth to be tested on, and what everybody looks like."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.cameras import build_camera
from reid.data.synthetic.crops import render_crop
from reid.data.synthetic.footage import render_footage, write_video
from reid.data.synthetic.people import attribute_names, look_alike_of, sample_person
from reid.data.synthetic.seeds import generator
from reid.data.synthetic.spec import TownSpec
from reid.errors import UsageError
from reid.files import atomic_directory, atomic_path, write_json

__all__ = ["contact_sheet", "generate_town"]

Image = npt.NDArray[np.uint8]
_CROP_NAME, _FOOTAGE_NAME = re.compile(r"\d{4}_c\d+_\d{3}\.jpg"), re.compile(r"camera\d+\.(webm|txt)")
_FIRST_MORNING = datetime(2024, 3, 4, 8, 0)


def generate_town(spec: TownSpec, out: Path, test_identities: Sequence[int], progress: Callable[[int, int], None] | None = None) -> None:
    """Render a town into ``out``; equal arguments give equal bytes. Other files there stay as they are.

    Writes ``crops/{identity:04d}_c{camera}_{n:03d}.jpg``, ``footage/camera{c}.webm`` with its truth ``footage/camera{c}.txt`` in
    MOTChallenge 2015 format (ids are identities), and ``town.json`` with the spec, everybody's attributes, who is in the footage and
    when each camera's clock started.

    Args:
        spec: how much to render.
        out: the folder; an earlier town there is replaced.
        test_identities: who may appear in the footage, from 1 to ``spec.people``; ``spec.footage_people`` of them do.
        progress: called with images and frames done, and how many there are.

    Raises:
        UsageError: ``test_identities`` has too few people or somebody the town does not have, or ``out/crops`` holds other files.
    """
    out = Path(out)
    actors = _choose_actors(spec, test_identities)
    _refuse_strange_files(out)
    frames = round(spec.footage_seconds * spec.footage_fps)
    total = spec.cameras * (spec.people * spec.images_per_camera + frames)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    # town.json goes first and comes back last, so that a town that was interrupted has none.
    (out / "town.json").unlink(missing_ok=True)
    with atomic_directory(out / "crops") as folder:
        for identity, camera, n in _crops_of(spec):
            (folder / f"{identity:04d}_c{camera}_{n:03d}.jpg").write_bytes(_jpeg_crop(spec, identity, camera, n))
            tick()
    with atomic_directory(out / "footage") as folder:
        for camera in range(1, spec.cameras + 1):
            _write_footage(spec, camera, actors, folder, tick)
    write_json(out / "town.json", _describe(spec, actors))


def contact_sheet(spec: TownSpec, identities: Sequence[int], path: Path) -> None:
    """Write a PNG with one row a person and ``images_per_camera`` columns a camera, as the crops are stored."""
    rows = []
    for identity in identities:
        groups = []
        for camera in range(1, spec.cameras + 1):
            crops = [_decode(_jpeg_crop(spec, identity, camera, n)) for n in range(spec.images_per_camera)]
            groups += [_framed(crop) for crop in crops] + [np.full((spec.image_height + 4, 8, 3), 255, np.uint8)]
        rows.append(np.hstack(groups[:-1]))
    encoded = cv2.imencode(".png", np.vstack(rows))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _choose_actors(spec: TownSpec, test_identities: Sequence[int]) -> list[int]:
    known = sorted({int(identity) for identity in test_identities})
    strangers = [identity for identity in known if not 1 <= identity <= spec.people]
    if strangers:
        raise UsageError(f"test_identities has {strangers[0]}, but the town's people are 1 to {spec.people}")
    if len(known) < spec.footage_people:
        raise UsageError(
            f"test_identities has {len(known)} people, fewer than footage_people {spec.footage_people}: name more or lower footage_people"
        )
    rng = generator(spec.seed, "actors")
    return sorted(known[i] for i in rng.permutation(len(known))[: spec.footage_people])


def _refuse_strange_files(out: Path) -> None:
    for folder, own in (("crops", _CROP_NAME), ("footage", _FOOTAGE_NAME)):
        strange = sorted(path.name for path in (out / folder).glob("[!.]*") if not own.fullmatch(path.name))
        if strange:
            raise UsageError(f"{out / folder} holds {strange[0]}, which is not of a synthetic town: give another folder or move it away")


def _crops_of(spec: TownSpec) -> Iterator[tuple[int, int, int]]:
    return product(range(1, spec.people + 1), range(1, spec.cameras + 1), range(spec.images_per_camera))


def _jpeg_crop(spec: TownSpec, identity: int, camera: int, n: int) -> bytes:
    quality = build_camera(spec.seed, camera, spec.footage_width, spec.footage_height).jpeg_quality
    crop = cv2.cvtColor(render_crop(spec, identity, camera, n), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def _decode(encoded: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)


def _framed(image: Image) -> Image:
    return np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=255)


def _write_footage(spec: TownSpec, camera: int, actors: Sequence[int], folder: Path, tick: Callable[[], None]) -> None:
    lines: list[str] = []

    def frames() -> Iterator[Image]:
        for frame, boxes in render_footage(spec, camera, actors):
            lines.extend(box.as_mot() + "\n" for box in boxes)
            yield frame
            tick()

    write_video(folder / f"camera{camera}.webm", frames(), spec.footage_width, spec.footage_height, spec.footage_fps)
    (folder / f"camera{camera}.txt").write_text("".join(lines), encoding="ascii")


def _describe(spec: TownSpec, actors: Sequence[int]) -> dict[str, object]:
    rng = generator(spec.seed, "clocks")
    offsets = np.cumsum(rng.integers(60, 600, spec.cameras))
    people = {}
    for identity in range(1, spec.people + 1):
        vector = [round(float(value), 4) for value in sample_person(spec.seed, identity).as_vector()]
        people[f"{identity:04d}"] = {"vector": vector, "look_alike_of": look_alike_of(identity)}
    return {
        "spec": asdict(spec),
        "attributes": list(attribute_names()),
        "people": people,
        "footage_identities": list(actors),
        "camera_start": {str(c + 1): (_FIRST_MORNING + timedelta(seconds=int(s))).isoformat() for c, s in enumerate(offsets)},
    }
