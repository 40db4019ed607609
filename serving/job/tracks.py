"""A job's tracks in the forms of other tools: MOTChallenge, CVAT for video 1.1, COCO for video.

A track is a sighting: its boxes in one camera. Frames count from 1 in MOTChallenge files and, as these tools
have it, from 0 in CVAT's and COCO's. Sources: Dendorfer et al. 2020 (arXiv 2003.09003, section 3.2); CVAT's
manual, "XML annotation format"; MMTracking's "CocoVID", with the ``tracks`` of TAO (Dave et al. 2020).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from reid.errors import ReidError
from reid.files import atomic_directory
from serving.job.layout import NAMED, JobFolder, Key, key_of, name_of, open_job
from serving.job.record import TracksRecord

__all__ = ["FORMATS", "Format", "export_tracks"]

Format = Literal["mot", "cvat", "coco"]
FORMATS: tuple[Format, ...] = get_args(Format)
# A box that was filled in between two detections has no confidence of its own; 0 would mean "does not count".
_FILLED_IN = 0.001
_LABEL = "person"


@dataclass(frozen=True)
class _Track:
    number: int  # of the sighting in its camera, from 1
    name: str
    boxes: list[tuple[int, float, float, float, float, float]]  # frame from 1, x, y, w, h, confidence


@dataclass(frozen=True)
class _Camera:
    name: str
    width: int
    height: int
    fps: float
    step: int
    tracks: list[_Track]

    @property
    def frames(self) -> int:
        """The last frame that anybody is in."""
        return max((track.boxes[-1][0] for track in self.tracks), default=0)


def export_tracks(folder: Path | str, form: Format, out: Path | str) -> list[str]:
    """Write a finished job's tracks into a new folder, whole or not at all; returns the files' names.

    Args:
        folder: the job's output.
        form: ``mot``, a file ``CAMERA.txt`` for each camera (nine columns, as MOT16 has them: class 1 is a
            pedestrian, visibility 1) and the people of its ids in ``CAMERA.people.txt``; ``cvat``,
            ``CAMERA.xml`` for each; ``coco``, ``tracks.json`` for all.
        out: replaced whole.

    Raises:
        UsageError: there is no job, or ``out`` cannot be replaced.
        ReidError: the job is damaged, or of a version that did not record the size of its frames.
    """
    cameras = _cameras(JobFolder(Path(folder)))
    if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise ReidError(f"{out} is not empty: name a new folder")
    with atomic_directory(out, private=True) as temporary:
        _WRITERS[form](cameras, temporary)
        return sorted(path.name for path in temporary.iterdir())


def _cameras(files: JobFolder) -> list[_Camera]:
    record = open_job(files.path, TracksRecord).record
    boxes = files.read_detections().to_pylist()
    sightings = files.read_sightings(NAMED).to_pylist()
    of: dict[Key, _Track] = {key_of(row): _Track(row["tracklet"], name_of(row), []) for row in sightings}
    for row in boxes:
        place = (row["frame"], row["x"], row["y"], row["w"], row["h"], row["confidence"])
        track = of.get(key_of(row))
        if track is None:
            raise ReidError(f"{files.detections} has a box of nobody in {files.sightings}: run the job again")
        track.boxes.append(place)
    found = []
    for camera in record.job.cameras:
        facts = record.counts.cameras.get(camera.id)
        mine = [track for (name, _), track in of.items() if name == camera.id and track.boxes]
        if facts is None or facts.width is None or facts.height is None:
            if not mine:
                continue  # nothing could be read of it
            raise ReidError(f"job {files.path} does not say how large its frames are: run the job again")
        for track in mine:
            track.boxes.sort()
        size = (facts.width, facts.height, facts.fps or 1.0)
        found.append(_Camera(camera.id, *size, camera.step, sorted(mine, key=lambda track: track.number)))
    return found


def _write_mot(cameras: list[_Camera], folder: Path) -> None:
    for camera in cameras:
        rows = sorted((box[0], track.number, box[1:]) for track in camera.tracks for box in track.boxes)
        with (folder / f"{camera.name}.txt").open("w", encoding="utf-8") as file:
            for frame, number, (x, y, w, h, confidence) in rows:
                sure = confidence or _FILLED_IN
                file.write(f"{frame},{number},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{sure:.3f},1,1\n")
        people = "".join(f"{track.number},{track.name}\n" for track in camera.tracks)
        (folder / f"{camera.name}.people.txt").write_text(people, encoding="utf-8")


def _write_cvat(cameras: list[_Camera], folder: Path) -> None:
    for camera in cameras:
        with (folder / f"{camera.name}.xml").open("w", encoding="utf-8") as file:
            xml = _Xml(file, "utf-8")
            xml.startDocument()
            xml.nested("annotations", {}, partial(_cvat, xml, camera))
            xml.endDocument()


class _Xml(XMLGenerator):
    def nested(self, name: str, attributes: Mapping[str, object], inside: Callable[[], None]) -> None:
        self.startElement(name, AttributesImpl({key: str(value) for key, value in attributes.items()}))
        inside()
        self.endElement(name)
        self.ignorableWhitespace("\n")

    def leaf(self, tag: str, text: object, /, **attributes: object) -> None:
        self.nested(tag, attributes, lambda: self.characters(str(text)))


def _cvat(xml: _Xml, camera: _Camera) -> None:
    xml.leaf("version", "1.1")

    def attribute() -> None:
        facts = {"name": "name", "mutable": False, "input_type": "text", "default_value": "", "values": ""}
        for key, value in facts.items():
            xml.leaf(key, value)

    def label() -> None:
        xml.leaf("name", _LABEL)
        xml.nested("attributes", {}, lambda: xml.nested("attribute", {}, attribute))

    def size() -> None:
        xml.leaf("width", camera.width)
        xml.leaf("height", camera.height)

    def task() -> None:
        for key, value in {"name": camera.name, "size": camera.frames, "mode": "interpolation"}.items():
            xml.leaf(key, value)
        xml.nested("labels", {}, lambda: xml.nested("label", {}, label))
        xml.nested("original_size", {}, size)

    xml.nested("meta", {}, lambda: xml.nested("task", {}, task))
    for track in camera.tracks:
        facts = {"id": track.number, "label": _LABEL, "source": "auto"}
        xml.nested("track", facts, partial(_cvat_track, xml, camera, track))


def _cvat_track(xml: _Xml, camera: _Camera, track: _Track) -> None:
    for frame, (x, y, w, h), outside in _with_ends(track, camera):
        corners = {"xtl": x, "ytl": y, "xbr": x + w, "ybr": y + h}
        flags = {"frame": frame - 1, "outside": int(outside), "occluded": 0, "keyframe": 1, "z_order": 0}
        attributes = {**flags, **{key: f"{value:.2f}" for key, value in corners.items()}}
        xml.nested("box", attributes, lambda: xml.leaf("attribute", track.name, name="name"))


def _with_ends(
    track: _Track, camera: _Camera
) -> Iterator[tuple[int, tuple[float, float, float, float], bool]]:
    """Frame, box, and whether the person is gone: CVAT draws a box on until it is told so."""
    ends = [*((one[0], two[0]) for one, two in pairwise(track.boxes)), (track.boxes[-1][0], None)]
    for (frame, x, y, w, h, _), (_, following) in zip(track.boxes, ends, strict=True):
        yield frame, (x, y, w, h), False
        if following is None or following - frame > camera.step:
            yield frame + 1, (x, y, w, h), True


def _write_coco(cameras: list[_Camera], folder: Path) -> None:
    found: dict[str, list[dict[str, Any]]] = {
        "videos": [],
        "images": [],
        "tracks": [],
        "annotations": [],
        "categories": [{"id": 1, "name": _LABEL}],
    }
    for video, camera in enumerate(cameras, start=1):
        size = {"width": camera.width, "height": camera.height}
        found["videos"].append({"id": video, "name": camera.name, "fps": camera.fps, **size})
        image_of: dict[int, int] = {}
        for frame in sorted({box[0] for track in camera.tracks for box in track.boxes}):
            image_of[frame] = len(found["images"]) + 1
            file = f"{camera.name}/{frame:06d}.jpg"
            at = {"video_id": video, "frame_id": frame - 1, "file_name": file}
            found["images"].append({"id": image_of[frame], **at, **size})
        for track in camera.tracks:
            number = len(found["tracks"]) + 1
            found["tracks"].append({"id": number, "category_id": 1, "video_id": video, "name": track.name})
            for frame, x, y, w, h, confidence in track.boxes:
                box = [round(float(value), 2) for value in (x, y, w, h)]
                facts = {"image_id": image_of[frame], "video_id": video, "category_id": 1, "iscrowd": 0}
                who = {"track_id": number, "instance_id": number, "attributes": {"name": track.name}}
                shape = {"bbox": box, "area": round(box[2] * box[3], 2), "score": round(confidence, 4)}
                found["annotations"].append({"id": len(found["annotations"]) + 1, **facts, **who, **shape})
    (folder / "tracks.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


_WRITERS: dict[Format, Callable[[list[_Camera], Path], None]] = {
    "mot": _write_mot,
    "cvat": _write_cvat,
    "coco": _write_coco,
}
