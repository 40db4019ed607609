"""A camera is many files: their order, their own times, gaps, overlaps, and those that cannot be used."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from reid.errors import ReidError, UsageError
from serving.spec import Camera, source_files
from serving.video import open_footage, read_frames
from serving.video.starts import start_in_name, starts_of
from tests.serving.execution_job import make_place
from tests.serving.numbered import encode, number_of, numbered


def record(folder: Path, *names: str, each: int = 40, overlap: int = 0) -> list[str]:
    """Files of ``each`` frames at 10 Hz, numbered on; each begins ``overlap`` frames before the end of the
    last.
    """
    made = []
    for place, name in enumerate(names):
        first = 1 + place * (each - overlap)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made.append(
            str(encode(path, [numbered(number, 160, 120) for number in range(first, first + each)], g=20))
        )
    return made


def seen(paths: list[str], **options: str) -> tuple[list[int], list[float]]:
    frames = list(read_frames(open_footage(paths, **options)))
    assert [frame.number for frame in frames] == list(range(1, len(frames) + 1))
    return [number_of(frame.image) for frame in frames], [frame.time_s for frame in frames]


def test_a_glob_is_in_the_order_of_the_numbers_in_the_names(tmp_path: Path) -> None:
    for number in (1, 2, 3, 10, 11):
        (tmp_path / f"p-{number}.mkv").touch()
    found = source_files(Camera(id="c", source=str(tmp_path / "p-*.mkv")))
    assert [Path(name).stem for name in found] == ["p-1", "p-2", "p-3", "p-10", "p-11"]


def test_files_without_times_follow_each_other(tmp_path: Path) -> None:
    numbers, times_s = seen(record(tmp_path, "a-1.mkv", "a-2.mkv", "a-10.mkv"))
    assert numbers == list(range(1, 121))
    np.testing.assert_allclose(times_s, np.arange(120) / 10, atol=1e-3)


def test_times_in_names_keep_gaps_and_put_files_in_order(tmp_path: Path) -> None:
    names = ["c_20260504_100000.mkv", "c_20260504_100004.mkv", "c_20260504_110000.mkv"]
    footage = open_footage(record(tmp_path, *names)[::-1])
    frames = list(read_frames(footage))
    assert [number_of(frame.image) for frame in frames] == list(range(1, 121))
    times_s = [frame.time_s for frame in frames]
    np.testing.assert_allclose(times_s, np.arange(120) / 10 + np.repeat([0, 0, 3592.0], 40), atol=1e-3)
    assert footage.start == datetime(2026, 5, 4, 10)
    assert footage.notes == (
        "the starts of 3 files are from their names: 2026-05-04 10:00:00; 1 gap, 0:59:52 in all",
    )


def test_the_job_may_say_that_names_mean_nothing_or_what_they_mean(tmp_path: Path) -> None:
    paths = record(tmp_path, "c_20260504_100000.mkv", "c_20260504_110000.mkv")
    assert seen(paths, starts="none")[1][40] == pytest.approx(4.0, abs=1e-3)
    assert seen(paths, starts="c_%Y%d%m_%H%M%S")[1][40] == pytest.approx(3600.0)
    assert open_footage(paths, starts="c_%Y%d%m_%H%M%S").start == datetime(2026, 4, 5, 10)
    with pytest.raises(UsageError, match=r"c_20260504_100000\.mkv has no such time: give a pattern"):
        open_footage(paths, starts="metadata")


def test_overlaps_are_cut(tmp_path: Path) -> None:
    names = ["c_20260504_100000.mkv", "c_20260504_100007.mkv"]
    numbers, times_s = seen(record(tmp_path, *names, each=100, overlap=30))
    assert numbers == list(range(1, 171))
    np.testing.assert_allclose(times_s, np.arange(170) / 10, atol=1e-3)
    footage = open_footage(sorted(str(path) for path in tmp_path.glob("*.mkv")))
    assert (
        "its first 30 frames are left out, for by its start (2026-05-04 10:00:07) they are in the"
        in footage.notes[1]
    )
    assert [number_of(frame.image) for frame in read_frames(footage, 99, 104)] == [
        99,
        100,
        101,
        102,
        103,
        104,
    ]


def test_times_that_a_file_says_itself(tmp_path: Path) -> None:
    paths = []
    for place, moment in enumerate(("2026-05-04T10:00:00Z", "2026-05-04T10:01:00Z")):
        path = tmp_path / f"IMG_{place}.mp4"
        with av.open(str(path), "w") as out:
            out.metadata["creation_time"] = moment
            stream = out.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            for number in range(1, 21):
                out.mux(
                    stream.encode(
                        av.VideoFrame.from_ndarray(numbered(20 * place + number, 160, 120), format="bgr24")
                    )
                )
            out.mux(stream.encode())
        paths.append(str(path))
    footage = open_footage(paths)
    assert footage.start == datetime(2026, 5, 4, 10, tzinfo=UTC)
    assert next(read_frames(footage, 21)).time_s == pytest.approx(60)


def test_a_file_that_cannot_be_used_is_left_out_with_its_hours(tmp_path: Path) -> None:
    names = ["c_20260504_100000.mkv", "c_20260504_100004.mkv", "c_20260504_100008.mkv"]
    paths = record(tmp_path, *names)
    Path(paths[1]).write_bytes(b"")
    footage = open_footage(paths)
    frames = list(read_frames(footage))
    assert [number_of(frame.image) for frame in frames] == [*range(1, 41), *range(81, 121)]
    assert [frame.time_s for frame in frames][39:41] == pytest.approx([3.9, 8.0], abs=1e-3)
    (line,) = footage.missing
    assert line.endswith("is empty (0 bytes): copy it again; 2026-05-04 10:00:04 to 10:00:08 is left out")


def test_no_usable_file_at_all(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.mkv", "b.mkv")]
    for path in paths:
        Path(path).touch()
    with pytest.raises(ReidError, match=r"none of 2 files can be used; the first: video .*a\.mkv is empty"):
        open_footage(paths)


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("Camera 01_20260504_101500.mp4", datetime(2026, 5, 4, 10, 15)),
        ("192.168.1.64_01_20260504101500123.mp4", datetime(2026, 5, 4, 10, 15, 0, 123000)),
        ("NVR_ch1_main_20260504101500_20260504102000.mp4", datetime(2026, 5, 4, 10, 15)),
        ("2026-05-04 10-15-00.mkv", datetime(2026, 5, 4, 10, 15)),
        ("2026-05-04T10-15-00.mp4", datetime(2026, 5, 4, 10, 15)),
        ("2026-05-04_10-15-00-250000.mp4", datetime(2026, 5, 4, 10, 15, 0, 250000)),
        ("VID_20260504_101500.mp4", datetime(2026, 5, 4, 10, 15)),
        ("PXL_20260504_101500123.mp4", datetime(2026, 5, 4, 10, 15, 0, 123000)),
        ("RLC-510A-01-20260504101500.mp4", datetime(2026, 5, 4, 10, 15)),
        ("UniFi_04-05-2026_10.15.00.mp4", datetime(2026, 5, 4, 10, 15)),
        ("cam-1777889700.mp4", datetime(2026, 5, 4, 10, 15, tzinfo=UTC)),
        ("2026-05-04/001/dav/10/10.15.00-10.20.00[M][0@0][0].dav", datetime(2026, 5, 4, 10, 15)),
        ("2026/05/04/Rec_101500.mp4", datetime(2026, 5, 4, 10, 15)),
        ("recordings/2026-05-04/10/hall/15.00.mp4", datetime(2026, 5, 4, 10, 15)),
        ("hall-3.mp4", None),
        ("GX010123.mp4", None),
        ("20261304_101500.mp4", None),
        ("20260431_101500.mp4", None),
        ("20260504_251500.mp4", None),
        ("hall_20260504.mp4", None),
    ],
)
def test_names_of_recorders(path: str, start: datetime | None) -> None:
    assert start_in_name(f"/data/{path}") == start


def test_times_that_only_some_names_have_do_not_count() -> None:
    assert starts_of(["a_20260504_101500.mp4", "b.mp4"], [None, None]) == (None, "")


def test_a_job_of_a_recorders_files_has_their_clock_and_says_what_is_missing(tmp_path: Path) -> None:
    make_place(tmp_path, cameras=1)
    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    for name in ("h_20260504_100000.avi", "h_20260504_110000.avi"):
        os.link(tmp_path / "one.avi", tmp_path / name)
    (tmp_path / "h_20260504_103000.avi").touch()
    job["cameras"] = [{"id": "hall", "source": "h_*.avi"}]
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    done = CliRunner().invoke(
        app, ["match", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out"), "--quiet"]
    )
    assert done.exit_code == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("camera hall: video ")
    assert line.endswith("is empty (0 bytes): copy it again; 2026-05-04 10:30:00 to 11:00:00 is left out")
    assert (
        "camera hall: the starts of 2 files are from their names: 2026-05-04 10:00:00; 1 gap, 0:59:34 in all"
        in done.stdout
    )
    record = json.loads((tmp_path / "out" / "job.json").read_text())
    assert record["counts"]["frames"] == 520
    assert len(record["notes"]) == 1
    rows = pq.read_table(tmp_path / "out" / "sightings.parquet").to_pylist()
    clock = datetime(2026, 5, 4, 10).astimezone()
    assert {round((row["start_time"] - clock).total_seconds() // 3600) for row in rows} == {0, 1}
    assert max(row["end_s"] - row["start_s"] for row in rows) < 30


def test_parts_of_one_recording_with_one_time_follow_each_other(tmp_path: Path) -> None:
    paths = record(tmp_path, "export_20260504_101500_part1.mkv", "export_20260504_101500_part2.mkv")
    numbers, times_s = seen(paths)
    assert numbers == list(range(1, 81))
    np.testing.assert_allclose(times_s, np.arange(80) / 10, atol=1e-3)
    footage = open_footage(paths)
    assert footage.missing == [] and footage.start is None
    assert footage.notes == (
        "the files follow each other: by their names several files have the time 2026-05-04 10:15:00",
    )
    with pytest.raises(UsageError, match="file_starts is 'name', but several files have the time 2026-05-04"):
        open_footage(paths, starts="name")


def test_starts_closer_than_the_files_are_long_are_a_problem(tmp_path: Path) -> None:
    paths = record(tmp_path, "c_20260504_100000.mkv", "c_20260504_100003.mkv", each=80)
    footage = open_footage(paths)
    (line,) = footage.missing
    assert "its first 50 frames are left out" in line and "with file_starts: none files follow each" in line
    assert seen(paths, starts="none")[0] == list(range(1, 161))


@pytest.mark.parametrize(
    "names",
    [
        ("cam1234567890_1.mkv", "cam1234567890_2.mkv"),  # a serial number
        ("rec_1920108020_a.mkv", "rec_1280072020_b.mkv"),  # numbers that would be 2030 and 2010
    ],
)
def test_a_number_of_ten_digits_need_not_be_a_time(names: tuple[str, ...], tmp_path: Path) -> None:
    numbers, times_s = seen(record(tmp_path, *names))
    assert numbers == list(range(1, 81))
    np.testing.assert_allclose(times_s, np.arange(80) / 10, atol=1e-3)
    assert open_footage([str(tmp_path / name) for name in names]).notes == ()
