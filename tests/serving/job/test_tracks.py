"""Tracks in the forms of other tools, read back by readers that are not ours."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import supervision as sv
from typer.testing import CliRunner

from pipelines.cli import app
from reid.errors import ReidError, UsageError
from serving.job.layout import DETECTIONS
from serving.scoring import read_people
from tests.serving.job.folders import folder_of, sighting

NAME = "Ünal & <co>"
SIZE = {"width": 640, "height": 480, "fps": 10.0}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Two sightings of hall, the first with a gap of three frames, and one of yard, each third frame."""
    rows = [
        sighting("hall", 1, NAME, 0, 1, 0.1),
        sighting("hall", 2, "unknown", 0, 1, 0.1),
        sighting("yard", 1, "anna", 0, 1, 0.1),
    ]
    folder = folder_of(tmp_path / "job", rows)
    frames = [("hall", 1, [1, 2, 3, 7, 8]), ("hall", 2, [2, 3]), ("yard", 1, [1, 4, 7])]
    boxes = [
        {"camera": camera, "tracklet": number, "frame": frame, "identity": "x"}
        | {"x": 10.25 * number, "y": 20.5 + frame, "w": 30.0, "h": 80.0, "confidence": 0.9 * (frame != 2)}
        for camera, number, there in frames
        for frame in there
    ]
    pq.write_table(pa.Table.from_pylist(boxes, schema=DETECTIONS), folder / "detections.parquet")
    record = json.loads((folder / "job.json").read_text())
    record["counts"]["cameras"] = {"hall": SIZE, "yard": SIZE}
    record["job"]["cameras"] = [{"id": "hall"}, {"id": "yard", "step": 3}]
    (folder / "job.json").write_text(json.dumps(record))
    return folder


def export(job: Path, form: str) -> Path:
    out = job.parent / form
    result = CliRunner().invoke(app, ["tracks", str(job), "--format", form, "--out", str(out)])
    assert result.exit_code == 0, result.exception
    return out


def test_motchallenge_is_what_trackers_evaluates(job: Path) -> None:
    from trackers.eval import evaluate_mot_sequence
    from trackers.io.mot import load_mot_file

    out = export(job, "mot")
    assert sorted(path.name for path in out.iterdir()) == [
        "hall.people.txt",
        "hall.txt",
        "yard.people.txt",
        "yard.txt",
    ]
    read = load_mot_file(out / "hall.txt")
    assert sorted(read) == [1, 2, 3, 7, 8]
    assert read[3].ids.tolist() == [1, 2]
    np.testing.assert_allclose(read[3].boxes, [[10.25, 23.5, 30, 80], [20.5, 23.5, 30, 80]])
    assert (read[2].confidences > 0).all()  # filled in, and counts all the same
    result = evaluate_mot_sequence(out / "hall.txt", out / "hall.txt", metrics=["CLEAR", "Identity"])
    assert (result.CLEAR.MOTA, result.Identity.IDF1) == (1.0, 1.0)
    assert read_people(out / "hall.people.txt") == {"1": NAME, "2": "unknown-2"}


def test_cvat_has_the_elements_of_its_form(job: Path) -> None:
    root = ElementTree.parse(export(job, "cvat") / "hall.xml").getroot()
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    task = root.find("meta/task")
    assert task is not None
    assert [task.findtext(key) for key in ("name", "size", "mode", "original_size/width")] == [
        "hall",
        "8",
        "interpolation",
        "640",
    ]
    assert task.findtext("labels/label/attributes/attribute/name") == "name"
    tracks = root.findall("track")
    assert [(track.get("id"), track.get("label")) for track in tracks] == [("1", "person"), ("2", "person")]
    boxes = [(int(box.attrib["frame"]), box.attrib["outside"]) for box in tracks[0].findall("box")]
    # Frames from 0; gone after the third and after the last.
    assert boxes == [(0, "0"), (1, "0"), (2, "0"), (3, "1"), (6, "0"), (7, "0"), (8, "1")]
    first = tracks[0].find("box")
    assert first is not None
    assert [first.get(side) for side in ("xtl", "ytl", "xbr", "ybr", "keyframe", "occluded")] == [
        "10.25",
        "21.50",
        "40.25",
        "101.50",
        "1",
        "0",
    ]
    assert {one.text for one in tracks[0].findall("box/attribute[@name='name']")} == {NAME}
    yard = ElementTree.parse(job.parent / "cvat" / "yard.xml").getroot().findall("track/box")
    assert [(one.get("frame"), one.get("outside")) for one in yard] == [
        ("0", "0"),
        ("3", "0"),
        ("6", "0"),
        ("7", "1"),
    ]


def test_coco_is_read_by_supervision(job: Path, tmp_path: Path) -> None:
    out = export(job, "coco")
    read = sv.DetectionDataset.from_coco(str(tmp_path), str(out / "tracks.json"))
    assert read.classes == ["person"]
    by_file = {str(Path(path).relative_to(tmp_path)): one for path, one in read.annotations.items()}
    assert sorted(by_file)[:2] == ["hall/000001.jpg", "hall/000002.jpg"]
    np.testing.assert_allclose(
        by_file["hall/000003.jpg"].xyxy, [[10.25, 23.5, 40.25, 103.5], [20.5, 23.5, 50.5, 103.5]]
    )
    value = json.loads((out / "tracks.json").read_text())
    assert [(one["id"], one["video_id"], one["name"]) for one in value["tracks"]] == [
        (1, 1, NAME),
        (2, 1, "unknown-2"),
        (3, 2, "anna"),
    ]
    frame_of = {one["id"]: (one["video_id"], one["frame_id"]) for one in value["images"]}
    last = value["annotations"][-1]
    assert (frame_of[last["image_id"]], last["track_id"], last["attributes"]) == ((2, 6), 3, {"name": "anna"})
    assert len({one["id"] for one in value["annotations"]}) == len(value["annotations"]) == 10


def test_what_cannot_be_exported_is_one_line(job: Path) -> None:
    run = CliRunner().invoke
    (job.parent / "full").mkdir()
    (job.parent / "full" / "mine").touch()
    result = run(app, ["tracks", str(job), "--out", str(job.parent / "full")])
    assert isinstance(result.exception, ReidError) and "name a new folder" in str(result.exception)
    assert (job.parent / "full" / "mine").exists()
    result = run(app, ["tracks", str(job), "--format", "kitti", "--out", str(job.parent / "new")])
    assert isinstance(result.exception, UsageError) and "want mot, cvat, coco" in str(result.exception)
    whole = pq.read_table(job / "sightings.parquet")
    pq.write_table(whole.slice(1), job / "sightings.parquet")
    result = run(app, ["tracks", str(job), "--out", str(job.parent / "new")])
    assert "detections.parquet has a box of nobody in" in str(result.exception)
    pq.write_table(whole, job / "sightings.parquet")
    record = json.loads((job / "job.json").read_text())
    del record["counts"]["cameras"]["hall"]["width"]
    (job / "job.json").write_text(json.dumps(record))
    result = run(app, ["tracks", str(job), "--out", str(job.parent / "new")])
    assert "does not say how large its frames are: run the job again" in str(result.exception)
    assert not (job.parent / "new").exists()
