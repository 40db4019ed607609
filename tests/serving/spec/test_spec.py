from pathlib import Path

import pytest
import yaml

from reid.addresses import redacted
from reid.errors import ReidError, UsageError
from serving.spec import Camera, check_job, load_job, source_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "gallery.db").touch()
    (tmp_path / "a.avi").touch()
    return tmp_path


def minimal(**changes: object) -> dict[str, object]:
    return {
        "cameras": [{"id": "c1", "source": "a.avi"}],
        "model": "model",
        "gallery": "gallery.db",
        **changes,
    }


def write(folder: Path, value: object) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_paths_are_relative_to_the_job_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder, minimal())
    monkeypatch.chdir("/")
    job = load_job(path)
    assert job.cameras[0].source == str(folder / "a.avi")
    assert (job.model, job.gallery) == (str(folder / "model"), str(folder / "gallery.db"))


def test_a_gallery_may_be_left_out(folder: Path) -> None:
    value = minimal()
    del value["gallery"]
    assert load_job(write(folder, value)).gallery is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (minimal(galery="x"), ["unknown key 'galery'"]),
        (minimal(adaptive=True), ["adaptive: want keys with values below it"]),
        (minimal(detector={"name": "motion", "threshold": 1}), ["unknown key 'detector.threshold'"]),
        (minimal(cameras=[{"id": "c1", "source": "a.avi", "fps": 3}]), ["unknown key 'cameras.0.fps'"]),
        ({"cameras": [{"id": "c1", "source": "a.avi"}]}, ["missing key 'model'"]),
        (minimal(cameras=[]), ["cameras"]),
        (
            minimal(cameras=[{"id": "c1", "source": "a.avi"}, {"id": "c1", "source": "a.avi"}]),
            ["two cameras have the id 'c1'"],
        ),
        (minimal(cameras=[{"id": "../c1", "source": "a.avi"}]), ["cameras.0.id"]),
        (
            minimal(cameras=[{"id": "c1", "source": "a.avi", "frames": [9, 3]}]),
            ["cameras.0.frames", "1 <= first <= last"],
        ),
        (
            minimal(cameras=[{"id": "c1", "source": "a.avi", "region": [[0, 0], [1, 1]]}]),
            ["cameras.0.region", "three corners"],
        ),
        (
            minimal(cameras=[{"id": "c1", "source": "a.avi", "start_time": "yesterday"}]),
            ["cameras.0.start_time"],
        ),
        (
            minimal(cameras=[{"id": "c1", "source": "a.avi", "start_time": "9999-12-31T23:59:00"}]),
            ["cameras.0.start_time", "year is 9999"],
        ),
        (
            minimal(cameras=[{"id": "c1", "source": "a.avi", "start_time": "0001-01-01T00:00:00"}]),
            ["cameras.0.start_time", "year is 1"],
        ),
        (minimal(policy="nearest"), ["policy"]),
        (minimal(model="nowhere"), ["model directory", "nowhere", "does not exist"]),
        (minimal(gallery="nowhere.db"), ["gallery", "nowhere.db", "does not exist"]),
        (
            minimal(detector={"name": "yolox", "model": "no.onnx"}),
            ["detector model", "no.onnx", "does not exist"],
        ),
        (
            minimal(cameras=[{"id": "c1", "source": "a.avi", "detections": "no.txt"}]),
            ["camera c1", "no.txt", "does not exist"],
        ),
        ([1, 2], ["holds no keys"]),
    ],
)
def test_a_wrong_job_is_one_line_that_names_the_key(folder: Path, value: object, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        load_job(write(folder, value))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_text_that_is_not_yaml(folder: Path) -> None:
    path = folder / "job.yaml"
    path.write_text("cameras: [\n")
    with pytest.raises(UsageError, match="is not YAML") as caught:
        load_job(path)
    assert "\n" not in str(caught.value)


def test_a_missing_job_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"job file .*none\.yaml does not exist"):
        load_job(tmp_path / "none.yaml")


def test_credentials_are_neither_in_the_public_job_nor_in_messages(folder: Path) -> None:
    source = "rtsp://user:s3cret@camera.example:554/live?token=t0ken"
    job = load_job(write(folder, minimal(cameras=[{"id": "c1", "source": source}])))
    assert job.cameras[0].source == source
    assert job.public()["cameras"][0]["source"] == "rtsp://camera.example:554/live"
    with pytest.raises(UsageError) as caught:
        load_job(write(folder, minimal(cameras=[{"id": "c1", "source": source, "step": 0}])))
    assert "s3cret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


def test_a_path_is_not_shortened() -> None:
    assert redacted("/a/b@c?d.avi") == "/a/b@c?d.avi"


def test_the_key_changes_with_the_job_alone(folder: Path) -> None:
    one = load_job(write(folder, minimal()))
    assert load_job(write(folder, minimal())).key() == one.key()
    assert load_job(write(folder, minimal(threshold=0.5))).key() != one.key()


def test_a_glob_is_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b-2.avi", "b-10.avi", "a.avi", "b-1.avi"):
        (tmp_path / name).touch()
    found = source_files(Camera(id="c", source=str(tmp_path / "b-*.avi")))
    assert [Path(name).name for name in found] == ["b-1.avi", "b-2.avi", "b-10.avi"]
    with pytest.raises(ReidError, match=r"^video .*z-\*.avi does not exist"):
        source_files(Camera(id="c", source=str(tmp_path / "z-*.avi")))


@pytest.mark.parametrize(
    ("said", "name", "has_file"),
    [
        ({"name": "d.onnx"}, "auto", True),
        ({"model": "d.onnx"}, "auto", True),
        ({"name": "d.onnx", "layout": "ssd"}, "ssd", True),
        ({"name": "yolov8", "model": "d.onnx"}, "yolov8", True),
        ({"name": "yolox", "model": "d.onnx"}, "yolox", True),
        ({"layout": "yolox", "model": "d.onnx"}, "yolox", True),
        ({"name": "mot"}, "mot", False),
        ({}, "motion", False),
    ],
)
def test_a_detector_is_said_by_its_file_its_layout_or_both(
    tmp_path: Path, said: dict[str, str], name: str, has_file: bool
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "d.onnx").write_bytes(b"")
    raw = {"cameras": [{"id": "c", "source": "a.avi"}], "model": "model", "detector": said}
    job = check_job(raw, tmp_path, "job")
    assert job.detector.name == name
    assert job.detector.model == (str(tmp_path / "d.onnx") if has_file else None)
    again = check_job(job.model_dump(mode="json", exclude_defaults=True), tmp_path, "again")
    assert again == job


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"name": "a.onnx", "model": "b.onnx"}, "name and model are both files: leave one out"),
        ({"name": "motion", "layout": "ssd"}, "motion has no layout"),
        ({"name": "ssd", "layout": "yolox", "model": "b.onnx"}, "name says 'ssd' and layout 'yolox'"),
    ],
)
def test_a_detector_that_is_said_twice(tmp_path: Path, said: dict[str, str], words: str) -> None:
    raw = {"cameras": [{"id": "c", "source": "a.avi"}], "model": "model", "detector": said}
    with pytest.raises(UsageError, match=words):
        check_job(raw, tmp_path, "job")
