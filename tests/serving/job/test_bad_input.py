"""Odd and broken footage in one job: each camera has a stated outcome, and none stops the others.

Single files are in test_video.py, wrong job files in test_job.py, galleries and output folders of others in
test_worker.py.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from serving.gallery import Gallery
from tests.serving.tiny_footage import Walk, audio_only, background, draw, write_video, write_walks
from tests.serving.tiny_models import tiny_model

WALK = Walk("anna", (-12, 120), (5, 0), 3, 60)
FRAMES = 70


def without_decoder(path: Path) -> Path:
    """Footage whose codec nobody knows: its two four-letter names are overwritten."""
    data = write_video(path, [background()] * 5).read_bytes()
    path.write_bytes(data.replace(b"FMP4", b"ZQZQ").replace(b"fmp4", b"zqzq"))
    return path


def damaged(path: Path) -> Path:
    """Footage in which a run of bytes in the middle is noise, so that frames are lost."""
    data = bytearray(write_walks(path, [WALK], FRAMES).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("bad")
    tiny_model(folder / "model")
    Gallery.open(folder / "gallery.db", "tiny-1", create=True).close()
    times = [round(1000 * (number / 10 + 0.02 * (number % 3))) for number in range(FRAMES)]
    write_video(
        folder / "uneven.mkv", [draw(number, [WALK]) for number in range(1, FRAMES + 1)], times_ms=times
    )
    write_video(folder / "pixel.avi", [np.full((1, 1, 3), 90, np.uint8)] * 20, codec="ffv1")
    write_video(folder / "huge.avi", [np.full((4320, 7680, 3), 90, np.uint8)] * 2)
    audio_only(folder / "audio.wav")
    without_decoder(folder / "codec.avi")
    damaged(folder / "noise.avi")
    write_walks(folder / "fine.avi", [WALK], FRAMES)
    sources = ["uneven.mkv", "pixel.avi", "huge.avi", "audio.wav", "codec.avi", "noise.avi", "fine.avi"]
    cameras = [{"id": Path(name).stem, "source": name} for name in sources]
    cameras[-1]["start_time"] = "2026-05-04T10:00:00"  # of this machine's zone; the others have no clock
    job = {"cameras": cameras, "model": "model", "gallery": "gallery.db", "threshold": 0.35}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    result = CliRunner().invoke(
        app, ["match", str(folder / "job.yaml"), "--out", str(folder / "out"), "--quiet"]
    )
    return result, folder / "out"


def test_what_cannot_be_read_is_said_and_the_rest_is_done(done) -> None:
    result, out = done
    assert result.exit_code == 3, result.output
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["camera audio", "camera codec", "camera noise"]
    assert "holds no picture, only audio" in lines[0]
    assert "there is no decoder for its codec" in lines[1]
    assert f"of {FRAMES} frames are there" in lines[2]
    record = json.loads((out / "job.json").read_text())
    assert record["problems"] == lines
    frames = {name: one["frames"] for name, one in record["counts"]["cameras"].items()}
    assert frames | {"noise": 0} == {
        "uneven": FRAMES,
        "pixel": 20,
        "huge": 2,
        "audio": 0,
        "codec": 0,
        "noise": 0,
        "fine": FRAMES,
    }
    assert FRAMES // 3 < frames["noise"] < FRAMES


def test_odd_footage_is_footage(done) -> None:
    rows = pq.read_table(done[1] / "sightings.parquet").to_pylist()
    seen = {
        camera: [row for row in rows if row["camera"] == camera]
        for camera in ("uneven", "fine", "noise", "pixel", "huge")
    }
    assert (len(seen["uneven"]), len(seen["fine"]), seen["pixel"], seen["huge"]) == (1, 1, [], [])
    assert seen["noise"]
    # Where the rate varies, times are the file's own and not frames by the mean rate.
    uneven = seen["uneven"][0]
    first = uneven["start_frame"] - 1
    assert uneven["start_s"] == pytest.approx(first / 10 + 0.02 * (first % 3), abs=0.002)


def test_a_job_where_only_some_cameras_have_a_clock(done) -> None:
    rows = pq.read_table(done[1] / "sightings.parquet").to_pylist()
    assert {row["camera"] for row in rows if row["start_time"] is not None} == {"fine"}
    assert all(row["start_s"] >= 0 for row in rows)
    # seconds of footage, not times of day
    assert 'data-day-start=""' in (done[1] / "report.html").read_text()
