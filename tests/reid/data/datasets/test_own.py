"""Readers of what people bring themselves: folders, tables, footage; and LFW's pairs."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reid.data.datasets import cut_footage, read_folder, read_lfw_pairs, read_table
from reid.data.datasets.footage import find_sequences
from reid.errors import ReidError, UsageError
from serving.cli.job_file import are_footage
from tests.reid.data.datasets.miniatures import lfw, touch


def test_folder_reads_identity_and_camera_from_the_path(tmp_path: Path) -> None:
    touch(tmp_path, "b/c2/1.png", "a/c1/2.JPG", "a/c1/notes.txt", "other.jpg")
    records = read_folder(tmp_path, r"^(?P<identity>\w)/c(?P<camera>\d)/")
    assert [(r.identity, r.camera, r.split) for r in records] == [("a", "1", "train"), ("b", "2", "train")]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?P<person>\d+)", "no group"),
        ("(", "not a regular expression"),
        (r"(?P<identity>\d{9})", "no image in"),
    ],
)
def test_folder_errors(tmp_path: Path, pattern: str, message: str) -> None:
    touch(tmp_path, "001_c1.png")
    with pytest.raises(ReidError, match=message):
        read_folder(tmp_path, pattern)


def test_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_folder(tmp_path / "none", "(?P<identity>.)")


def test_tables_read_the_same_from_csv_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(
        "path,identity,camera,split,frame,tracklet,label_age,label_height\n"
        "a/1.jpg,0007,01,train,3,t1,0.25,1.5\n"
        '"b, c.jpg",0008,02,query,,,0.5,1.75\n'
    )
    rows = [
        {
            "path": "a/1.jpg",
            "identity": "0007",
            "camera": "01",
            "split": "train",
            "frame": 3,
            "tracklet": "t1",
            "label_age": 0.25,
        },
        {
            "path": "b, c.jpg",
            "identity": "0008",
            "camera": "02",
            "split": "query",
            "frame": None,
            "tracklet": None,
            "label_age": 0.5,
        },
    ]
    pq.write_table(
        pa.Table.from_pylist([row | {"label_height": 1.5 + i / 4} for i, row in enumerate(rows)]),
        tmp_path / "people.parquet",
    )
    records = read_table(tmp_path / "people.csv")
    assert records == read_table(tmp_path / "people.parquet")
    assert records[0].path == tmp_path / "a/1.jpg"
    assert [(r.identity, r.camera, r.split, r.frame, r.tracklet) for r in records] == [
        ("0007", "01", "train", 3, "t1"),
        ("0008", "02", "query", None, None),
    ]
    assert records[1].label_vector == (0.5, 1.75)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,person\n1.jpg,7\n", "lacks the column 'identity'"),
        ("path,identity,colour\n1.jpg,7,red\n", "unknown column 'colour'"),
        ("path,identity\n1.jpg,\n", "row 1: identity is empty"),
        ("path,identity,split\n1.jpg,7,test\n", "row 1: split is 'test'"),
        ("path,identity,frame\n1.jpg,7,x\n", "row 1: frame and label"),
        ("path,identity\n1.jpg,7,8\n", "cannot be read"),
    ],
)
def test_table_errors_name_the_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(ReidError, match=message) as caught:
        read_table(tmp_path / "people.csv")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"want \.csv or \.parquet"):
        read_table(tmp_path)


MATCHED, MISMATCHED = "Ann_A\t1\t2", "Ann_A\t1\tBob_B\t2"


def test_lfw_pairs(tmp_path: Path) -> None:
    pairs = read_lfw_pairs(lfw(tmp_path, ["2\t1", MATCHED, MISMATCHED, "Cy_C\t2\t1", "Bob_B\t1\tCy_C\t1"]))
    assert [(p.first.name, p.second.name, p.same, p.fold) for p in pairs] == [
        ("Ann_A_0001.jpg", "Ann_A_0002.jpg", True, 0),
        ("Ann_A_0001.jpg", "Bob_B_0002.jpg", False, 0),
        ("Cy_C_0002.jpg", "Cy_C_0001.jpg", True, 1),
        ("Bob_B_0001.jpg", "Cy_C_0001.jpg", False, 1),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ten"], "does not begin"),
        (["1\t2", MATCHED, MISMATCHED], "has 2 pairs"),
        (["1\t1", MISMATCHED, MATCHED], "line 2 has 4 columns"),
        (["1\t1", "Ann_A\t1\t9", MISMATCHED], "line 2 names .*Ann_A_0009.jpg, which does not exist"),
    ],
)
def test_lfw_errors(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ReidError, match=message):
        read_lfw_pairs(lfw(tmp_path, lines))


def sequence(folder: Path, truth: str, frames: int = 3) -> None:
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for number in range(1, frames + 1):
        image = np.full((60, 80, 3), 10 * number, np.uint8)
        image[20:50, 30:40] = (0, 0, 200)
        cv2.imwrite(str(folder / "img1" / f"{number:06d}.jpg"), image)
    (folder / "gt/gt.txt").write_text(truth)


OPTIONS = {"every": 2, "min_height": 20, "min_visibility": 0.5, "shared_identities": False}


def test_footage_is_cut_and_every_box_is_accounted_for(tmp_path: Path) -> None:
    lines = [
        "1,7,30,20,10,30,1,1,0.9",
        "2,7,30,20,10,30,1,1,0.9",  # between
        "3,7,30,20,10,30,1,1,0.9",
        "1,8,-5,40,20,30,1,1,1",  # clipped to 15 x 20
        "1,9,5,5,10,12,1,1,1",  # low
        "1,10,5,5,10,30,1,1,0.2",  # hidden
        "1,11,5,5,10,30,0,1,1",  # flag 0
        "1,12,5,5,10,30,1,3,1",  # a car
    ]
    sequence(tmp_path / "in/MOT-01", "\n".join(lines))
    sequence(tmp_path / "in/MOT-02", "1,7,30,20,10,30,1,-1,-1,-1\n")
    cut = cut_footage(tmp_path / "in", tmp_path / "crops", **OPTIONS)
    assert [(r.path.name, r.identity, r.camera, r.frame) for r in cut.records] == [
        ("MOT-01_0007_000001.jpg", "MOT-01_0007", "MOT-01", 1),
        ("MOT-01_0008_000001.jpg", "MOT-01_0008", "MOT-01", 1),
        ("MOT-01_0007_000003.jpg", "MOT-01_0007", "MOT-01", 3),
        ("MOT-02_0007_000001.jpg", "MOT-02_0007", "MOT-02", 1),
    ]
    assert len(cut.records) + cut.left_out.total() == len(lines) + 1
    assert cut.left_out["not a pedestrian to be counted"] == 2
    crop = cv2.imread(str(tmp_path / "crops/MOT-01_0007_000003.jpg"))
    assert crop.shape == (30, 10, 3)
    assert np.abs(crop.mean(axis=(0, 1)) - (0, 0, 200)).max() < 25
    assert cv2.imread(str(tmp_path / "crops/MOT-01_0008_000001.jpg")).shape == (20, 15, 3)
    shared = cut_footage(tmp_path / "in", tmp_path / "crops", **(OPTIONS | {"shared_identities": True}))
    assert {r.identity for r in shared.records if r.tracklet in ("MOT-01_0007", "MOT-02_0007")} == {"0007"}


def test_videos_with_truth_are_cut(tmp_path: Path) -> None:
    from reid.data.synthetic import TownSpec, generate_town

    spec = TownSpec(
        people=3,
        images_per_camera=1,
        footage_people=2,
        footage_seconds=6.0,
        footage_fps=4,
        footage_width=320,
        footage_height=240,
    )
    generate_town(spec, tmp_path / "town", [1, 2, 3])
    options = OPTIONS | {"every": 4, "shared_identities": True}
    records = cut_footage(tmp_path / "town/footage", tmp_path / "crops", **options).records
    assert {r.camera for r in records} == {"camera1", "camera2", "camera3"}
    people = {
        camera: {r.identity for r in records if r.camera == camera} for camera in ("camera1", "camera2")
    }
    assert people["camera1"] == people["camera2"] and len(people["camera1"]) == 2


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("1,7,30,x,10,30,1\n", "line 1"),
        ("1,7,30\n", "line 1"),
        ("\n0,7,30,20,10,30,1\n", "line 2: want .* frames from 1"),
        ("1,7,30,nan,10,30,1\n", "line 1"),
        ("5,7,30,20,10,30,1,1,1\n", "no readable frame 5"),
    ],
)
def test_footage_errors(tmp_path: Path, truth: str, message: str) -> None:
    with pytest.raises(UsageError, match="holds no footage"):
        cut_footage(tmp_path, tmp_path / "crops", **OPTIONS)
    sequence(tmp_path / "in/A", truth)
    with pytest.raises(ReidError, match=message):
        cut_footage(tmp_path / "in", tmp_path / "crops", **OPTIONS)
    assert not (tmp_path / "crops").exists()


def test_mot17s_three_copies_are_one_sequence(tmp_path: Path) -> None:
    truth = "1,7,30,20,10,30,1,1,0.9\n"
    for copy in ("DPM", "FRCNN", "SDP"):
        sequence(tmp_path / f"in/MOT17-02-{copy}", truth)
    sequence(tmp_path / "in/MOT17-04-SDP", truth)
    cut = cut_footage(tmp_path / "in", tmp_path / "crops", **OPTIONS)
    assert [(r.path.name, r.identity, r.camera) for r in cut.records] == [
        ("MOT17-02_0007_000001.jpg", "MOT17-02_0007", "MOT17-02"),
        ("MOT17-04_0007_000001.jpg", "MOT17-04_0007", "MOT17-04"),
    ]
    assert cut.copies == {"MOT17-02": 2}
    (tmp_path / "in/MOT17-02-SDP/gt/gt.txt").write_text("1,8,30,20,10,30,1,1,0.9\n")
    names = [one.name for one in find_sequences(tmp_path / "in")]
    assert names == ["MOT17-02", "MOT17-02-SDP", "MOT17-04"], "another truth is another sequence"


def test_videos_that_a_job_takes_are_footage_too(tmp_path: Path) -> None:
    for name in ("east.MP4", "west.m2ts", "notes.md"):
        (tmp_path / name).touch()
        (tmp_path / name).with_suffix(".txt").touch()
    assert [one.name for one in find_sequences(tmp_path)] == ["east", "west"]
    assert are_footage(["east.MP4", "west.m2ts"]) and not are_footage(["notes.md"])


def test_sequences_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    sequence(tmp_path / "in/monday/hall", "1,7,30,20,10,30,1,1,0.9\n")
    sequence(tmp_path / "in/tuesday/hall", "1,7,30,20,10,30,1,1,0.9\n")
    sequence(tmp_path / "disk/yard", "1,7,30,20,10,30,1,1,0.9\n")
    (tmp_path / "in/linked").symlink_to(tmp_path / "disk")
    cut = cut_footage(tmp_path / "in", tmp_path / "crops", **OPTIONS)
    assert [r.camera for r in cut.records] == ["monday_hall", "tuesday_hall", "yard"]
    assert len({r.path for r in cut.records}) == 3
