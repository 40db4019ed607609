"""``reid match`` from videos alone, without a gallery, and the job files that it writes."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from pipelines.cli import app
from reid.errors import UsageError
from serving.cli.job_file import asked_job, write_template
from serving.spec import Camera, Job, load_job
from tests.serving.detection.tiny_detectors import Detected, detector_file, yolov8
from tests.serving.tiny_footage import Walk, write_walks
from tests.serving.tiny_models import tiny_model

FRAMES = 70


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """anna walks through two cameras, bert through the second alone; a model without a threshold."""
    folder = tmp_path_factory.mktemp("match")
    tiny_model(folder / "model")
    write_walks(folder / "hall way.avi", [Walk("anna", (-12, 120), (5, 0), 3, 66)], FRAMES)
    walks = [Walk("anna", (332, 100), (-5, 0), 3, 66), Walk("bert", (-12, 220), (5, 0), 3, 66)]
    write_walks(folder / "yard.avi", walks, FRAMES)
    return folder


def match(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["match", *map(str, words), "--quiet"])
    return result.exit_code, result.stdout, str(result.exception)


def test_without_a_gallery_everybody_is_unknown_and_linked_over_cameras(place: Path) -> None:
    out = place / "out"
    words = [place / "hall way.avi", place / "yard.avi", "--model", place / "model", "--threshold", 0.35]
    code, said, _ = match(*words, "--out", out)
    assert code == 0
    assert "3 sightings, 0 named, 3 unknown" in said
    rows = pq.read_table(out / "sightings.parquet").to_pylist()
    assert [(row["camera"], row["identity"], row["nearest"]) for row in rows] == [
        ("hall-way", "unknown", None)
    ] + [("yard", "unknown", None)] * 2
    hall, yard = (
        {row["provisional"] for row in rows if row["camera"] == camera} for camera in ("hall-way", "yard")
    )
    assert hall < yard
    assert len(yard) == 2
    assert (out / "report.html").stat().st_size > 1000
    # The job that it ran is a job file: run again it sees the same.
    assert (out / "job.yaml").stat().st_mode & 0o077 == 0
    assert load_job(out / "job.yaml") == asked_job(*_asked(place))
    assert match(out / "job.yaml", "--out", place / "again")[0] == 0
    again = pq.read_table(place / "again" / "sightings.parquet").to_pylist()
    assert again == rows


def test_footage_without_an_ending_of_videos_leaves_its_job_file_too(place: Path) -> None:
    (place / "yard.footage").write_bytes((place / "yard.avi").read_bytes())
    words = [place / "yard.footage", "--model", place / "model", "--threshold", 0.35]
    assert match(*words, "--out", place / "no-ending")[0] == 0
    assert load_job(place / "no-ending" / "job.yaml").cameras[0].id == "yard"


def _asked(place: Path) -> tuple[list[str], Path, None, None, float]:
    return [str(place / "hall way.avi"), str(place / "yard.avi")], place / "model", None, None, 0.35


def test_without_a_threshold_the_way_out_is_said(place: Path) -> None:
    code, _, problem = match(place / "yard.avi", "--model", place / "model", "--out", place / "none")
    assert code
    assert "run reid calibrate" in problem
    assert "--threshold" in problem
    assert not (place / "none").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "name a job file, or videos; reid match --init"),
        (["a.yaml", "b.yaml"], "name one job file alone, or videos alone"),
        (["a.yaml", "b.mp4"], "name one job file alone, or videos alone"),
        (["job.yaml", "--model", "model"], "job file job.yaml says its model itself"),
        (
            ["job.yaml", "--gallery", "people.db"],
            "--gallery is for videos: job file job.yaml says that itself",
        ),
        (["job.yaml", "--threshold", "0.5"], "--threshold is for videos"),
        (["a.mp4", "--model", "nowhere"], "model directory .*nowhere does not exist"),
    ],
)
def test_what_is_missing_or_too_much_is_said(tmp_path: Path, words: list[str], expected: str) -> None:
    assert re.search(expected, match(*words, "--out", tmp_path / "out")[2])
    assert "--out DIR" in match(*words)[2]


def test_cameras_are_named_like_their_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    sources = ["a/in door.mp4", "b/in door.mp4", "rtsp://user:secret@host/1", "front_*.mkv", "..mkv"]
    job = asked_job(sources, tmp_path / "model", None, None, None)
    assert [one.id for one in job.cameras] == ["in-door", "in-door-2", "camera", "front", "camera-2"]
    assert job.cameras[2].source == sources[2]
    assert job.cameras[3].source == str(Path.cwd() / "front_*.mkv")


def test_the_template_is_a_job_and_shows_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert match("--init")[0] == 0
    (tmp_path / "model").mkdir()
    assert load_job(tmp_path / "job.yaml").cameras[0].id == "entrance"
    with pytest.raises(UsageError, match="is there already"):
        write_template([])
    # With the comment signs gone it is a job still, its values are the defaults, and no key is left out.
    text = re.sub(
        r"^(\s*)# (?=\S*[\w\]}-]+:|  )", r"\1", (tmp_path / "job.yaml").read_text(), flags=re.MULTILINE
    )
    shown = yaml.safe_load(
        "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("# "))
    )
    assert set(shown) == set(Job.model_fields)
    assert set(shown["cameras"][0]) == set(Camera.model_fields)
    for key, field in Job.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            assert set(shown[key]) == set(kind.model_fields), key
            assert {
                name: value for name, value in shown[key].items() if name not in ("model", "confidence")
            } == kind().model_dump(exclude={"model", "confidence"})
        elif key not in ("cameras", "model", "gallery", "threshold", "travel", "until", "earlier"):
            assert shown[key] == field.default, key


def test_a_detectors_file_is_recognised_and_said(place: Path) -> None:
    path = detector_file(place / "people.onnx", yolov8([Detected((30, 10, 50, 50), 0, 0.9)], 3))
    words = [place / "yard.avi", "--model", place / "model", "--threshold", 0.35, "--detector", path]
    code, said, _ = match(*words, "--out", place / "recognised")
    assert code == 0
    assert said.startswith("1 sighting, ")
    assert "detector people.onnx: layout yolov8 (input images float32 [1, 3, 64, 96]; " in said
    assert "people are class 0" in said
    assert load_job(place / "recognised" / "job.yaml").detector.model == str(path)


def test_where_nobody_is_found_boxes_of_other_classes_are_told(place: Path) -> None:
    path = detector_file(place / "others.onnx", yolov8([Detected((30, 10, 50, 50), 2, 0.9)], 3))
    words = [place / "yard.avi", "--model", place / "model", "--threshold", 0.35, "--detector", path]
    code, said, _ = match(*words, "--out", place / "others")
    assert code == 0
    assert "nobody was seen in 70 frames" in said
    hint = (
        "camera yard: no box of the class of people, but of class 2 in 70 frames: if people are one of these"
    )
    assert hint in said and "--person-class" in said
    code, said, _ = match(*words, "--person-class", 2, "--out", place / "people")
    assert (code, said.startswith("1 sighting, ")) == (0, True)
    assert load_job(place / "people" / "job.yaml").detector.person_class == 2
    with pytest.raises(UsageError, match="name it with --detector"):
        asked_job(["a.mp4"], place / "model", None, None, None, 2)
