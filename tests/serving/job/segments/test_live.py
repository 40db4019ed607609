"""Live cameras: what they have seen is stored while they run, and is in the tables however they end."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from serving.job.run import Execution, JobResult, run_job
from serving.spec import load_job
from serving.video import open_footage, read_frames
from tests.serving.broadcast import broadcast, rtsp_broadcast
from tests.serving.execution_job import FRAMES, SEGMENT_S, WALKS, make_place
from tests.serving.numbered import encode, number_of, numbered
from tests.serving.tiny_footage import draw


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_place(tmp_path_factory.mktemp("live"))
    pictures = [draw(number, WALKS) for number in range(1, FRAMES + 1)]
    encode(folder / "one.ts", pictures, g=20, crf=10)
    encode(folder / "first.ts", pictures[:120], g=20, crf=10)
    encode(folder / "second.ts", pictures[120:], g=20, crf=10)
    return folder


def job_file(place: Path, name: str, sources: dict[str, str], **more: Any) -> Path:
    job = yaml.safe_load((place / "job.yaml").read_text())
    camera = {"reconnect_s": more.pop("reconnect_s", 4.0)}
    job["cameras"] = [
        {"id": key, "source": source} | (camera if "://" in source else {}) for key, source in sources.items()
    ]
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(job | more))
    return path


def run(place: Path, name: str, sources: dict[str, str], **more: Any) -> JobResult:
    return run_job(
        load_job(job_file(place, name, sources, **more)), place / name, execution=Execution(SEGMENT_S)
    )


def names(out: Path) -> list[str]:
    return [row["identity"] for row in pq.read_table(out / "sightings.parquet").to_pylist()]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_an_http_source_is_read_whole_or_said_to_have_broken_off(share: float, place: Path) -> None:
    with broadcast(place / "one.ts", shares=(share,)) as address:
        result = run(place, f"share-{share}", {"net": address})
    assert "anna" in names(result.out)
    frames = result.summary["counts"]["frames"]
    if share == 1.0:
        assert result.problems == ()
        assert frames == FRAMES
        assert names(result.out) == names(run(place, "file", {"net": "one.ts"}).out)
        return
    assert 60 < frames < 200
    (line,) = result.problems
    assert line.startswith("camera net: video http://127.0.0.1:")
    assert f"broke off after {(frames - 1) / 10:.1f} s" in line
    assert "s3cret" not in line + (result.out / "job.json").read_text()


def test_frames_come_in_order_when_a_file_is_read_on(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mkv", [numbered(number) for number in range(1, 161)], "ffv1")
    # After the first look, a connection breaks off; the next brings the file from the front.
    with broadcast(whole, shares=(1.0, 0.5, 1.0)) as address:
        footage = open_footage([address])
        frames = list(read_frames(footage))
    assert [number_of(frame.image) for frame in frames] == list(range(1, 161))
    assert [frame.number for frame in frames] == list(range(1, 161))


def test_a_camera_that_goes_away_and_comes_back(place: Path) -> None:
    # The first look has a connection of its own.
    files = [place / "one.ts", place / "first.ts", place / "second.ts"]
    with broadcast(*files, length=False) as address:
        result = run(place, "back", {"net": address}, max_s=20.0)
    (line,) = result.problems
    assert "was away for" in line
    assert "after 12 s" in line
    assert 200 <= result.summary["counts"]["frames"] <= FRAMES
    assert "anna" in names(result.out)


def test_an_rtsp_camera_over_tcp_goes_away_and_comes_back(place: Path) -> None:
    with rtsp_broadcast(place / "one.ts", place / "first.ts", place / "second.ts") as (address, transports):
        result = run(place, "rtsp", {"net": address}, max_s=20.0)
    assert len(transports) >= 3
    assert all("RTP/AVP/TCP" in transport for transport in transports)
    assert any("was away for" in line for line in result.problems)
    assert result.summary["counts"]["frames"] >= 190
    assert "anna" in names(result.out)
    assert "s3cret" not in (result.out / "job.json").read_text()


def test_a_job_ends_by_itself_after_max_s_or_at_a_time(place: Path) -> None:
    with broadcast(place / "one.ts", seconds=6.0) as address:
        result = run(place, "max", {"net": address}, max_s=12.0)
        assert result.problems == ()
        assert result.summary["counts"]["frames"] == 120
        began = time.monotonic()
        until = datetime.now(UTC) + timedelta(seconds=4)
        result = run(place, "until", {"net": address}, until=until.isoformat())
        assert time.monotonic() - began < 20
    assert result.problems == ()
    assert 10 < result.summary["counts"]["frames"] < FRAMES


def start(place: Path, path: Path, out: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "match",
        str(path),
        "--out",
        str(out),
        "--segment-s",
        str(SEGMENT_S),
        "--quiet",
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_segments(work: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(list(work.glob("net-*/counts.json"))) < count:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_sigterm_ends_a_live_job_with_everything_until_then(place: Path) -> None:
    out = place / "ended"
    with broadcast(place / "one.ts", seconds=12.0) as address:
        process = start(place, job_file(place, "ended", {"net": address}), out)
        wait_for_segments(place / ".ended.work", 2, process)
        # On a busy machine the stream may break off and come back: a segment is a stretch of time, with any
        # number of frames.
        stored = [json.loads(path.read_text()) for path in (place / ".ended.work").glob("net-*/counts.json")]
        process.send_signal(signal.SIGTERM)
        stdout, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    record = json.loads((out / "job.json").read_text())
    assert len(stored) >= 2
    assert FRAMES > record["counts"]["frames"] > sum(counts["frames"] for counts in stored) > 0
    assert names(out)
    assert "sightings" in stdout
    assert not (place / ".ended.work").exists()


@pytest.mark.slow
def test_a_killed_live_job_goes_on_after_what_it_stored(place: Path) -> None:
    out, work = place / "killed", place / ".killed.work"
    with broadcast(place / "one.ts", seconds=10.0) as address:
        path = job_file(place, "killed", {"net": address}, max_s=12.0)
        process = start(place, path, out)
        wait_for_segments(work, 1, process)
        process.kill()
        process.communicate()
        kept = {one.name for one in work.glob("net-*")}
        process = start(place, path, out)
        _, complaints = process.communicate(timeout=90)
    assert process.returncode == 0, complaints
    assert kept
    counts = json.loads((out / "job.json").read_text())["counts"]
    assert counts["frames"] == 50 * len(kept) + 120
    rows = pq.read_table(out / "sightings.parquet").to_pylist()
    assert max(row["end_frame"] for row in rows) > 120
    assert max(row["end_s"] for row in rows) > 5.0
