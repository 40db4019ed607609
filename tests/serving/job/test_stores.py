"""A job whose footage lies in a store: the same tables as from files, and what is missing said."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from serving.job.run import Execution, run_job
from serving.spec import load_job
from serving.stores.blocks import BLOCK
from tests.serving.bucket import Bucket, CuttingProxy, bucket, no_secret_in, reach
from tests.serving.execution_job import SEGMENT_S, in_store, make_place, same_rows

ROOT = Path(__file__).parents[3]


@pytest.fixture
def footage() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, bucket(patch) as one:
        yield one


def command(job: Path, out: Path) -> list[str]:
    line = [sys.executable, "-m", "pipelines.cli", "match", str(job), "--out", str(out), "--quiet"]
    return [*line, "--segment-s", str(SEGMENT_S)]


def test_tables_are_those_of_the_same_files_here(footage: Bucket, tmp_path: Path) -> None:
    place = make_place(tmp_path)
    sources = {name: footage.put(place / f"{name}.avi", f"cams/{name}/day-1.avi") for name in ("one", "two")}
    job = in_store(place, {"one": "s3://footage/cams/one/*.avi", "two": sources["two"]})
    here = run_job(load_job(place / "job.yaml"), place / "here", execution=Execution(SEGMENT_S))
    there = run_job(load_job(job), place / "there", execution=Execution(SEGMENT_S))
    same_rows(here.out, there.out)
    assert not there.problems
    assert (there.out / "kept-segments").is_dir()
    assert run_job(load_job(job), place / "there", execution=Execution(SEGMENT_S)).unchanged
    # Another version of one object is other footage.
    other = place / "other.avi"
    other.write_bytes((place / "two.avi").read_bytes() + b"\0")
    footage.put(other, "cams/two/day-1.avi")
    again = run_job(load_job(job), place / "there", execution=Execution(SEGMENT_S))
    assert not again.unchanged
    assert not again.seen_before
    no_secret_in(there.out)


def test_an_object_that_cannot_be_read_is_said_and_the_rest_is_there(footage: Bucket, tmp_path: Path) -> None:
    place = make_place(tmp_path)
    job = in_store(
        place, {"one": footage.put(place / "one.avi", "one.avi"), "two": "s3://footage/none/*.avi"}
    )
    done = subprocess.run(command(job, place / "out"), capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("camera two: video s3://footage/none/*.avi does not exist")
    assert "testing" not in done.stdout + done.stderr


def write_five_minutes(path: Path) -> int:
    """A picture a second and a key frame every ten, of about 2 Mbit/s; its size."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (360, 480, 3), np.uint8) for _ in range(8)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast", "crf": "11"})
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
        stream.codec_context.gop_size = 10
        for number in range(300):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(images[number % 8])))
        container.mux(stream.encode())
    return path.stat().st_size


@pytest.mark.slow
def test_a_stored_file_is_read_once_but_for_the_borders_of_segments(footage: Bucket, tmp_path: Path) -> None:
    """By the bytes that the store sends, to all processes together."""
    place = make_place(tmp_path, cameras=1)
    size = write_five_minutes(place / "long.mp4")
    (place / "boxes.txt").write_text("".join(f"{n},-1,100,100,60,150,1,-1,-1,-1\n" for n in range(1, 301)))
    job = yaml.safe_load((place / "job.yaml").read_text()) | {"detector": {"name": "mot"}}
    source = footage.put(place / "long.mp4", "long.mp4")
    job["cameras"] = [{"id": "one", "source": source, "detections": "boxes.txt"}]
    (place / "job.yaml").write_text(yaml.safe_dump(job))
    sent: dict[int, int] = {}
    proxy = CuttingProxy(footage.url, cuts=0)
    with pytest.MonkeyPatch.context() as patch:
        reach(proxy.url, patch)
        for workers in (1, 2):
            before = proxy.answered
            execution = Execution(60, workers)
            done = run_job(load_job(place / "job.yaml"), place / f"{workers}", execution=execution)
            assert not done.problems
            sent[workers] = proxy.answered - before
    proxy.close()
    same_rows(place / "1", place / "2")
    assert size <= sent[1] < 1.01 * size  # index and pictures
    # Of a process: the head and the table at the end. Of a border: what lies before it to the key frame two
    # seconds earlier, and the block that it cuts.
    assert sent[2] < size + (2 * 2 + 2 * 4) * BLOCK


@pytest.mark.slow
def test_a_killed_job_goes_on(footage: Bucket, tmp_path: Path) -> None:
    place = make_place(tmp_path)
    sources = {name: footage.put(place / f"{name}.avi", f"{name}.avi") for name in ("one", "two")}
    job, out = in_store(place, sources), place / "out"
    straight = run_job(load_job(place / "job.yaml"), place / "straight", execution=Execution(SEGMENT_S)).out
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch)}
    running = subprocess.Popen(
        command(job, out), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not list(place.glob(".out.work/*-0000[0-9]/counts.json")):
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not out.exists()
    assert not list(scratch.rglob("reid-*"))  # no bytes of footage stay
    stored = {path: path.stat().st_mtime_ns for path in place.glob(".out.work/*-0000[0-9]/counts.json")}
    assert 0 < len(stored) < 12
    done = subprocess.run(command(job, out), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    same_rows(straight, out)
    kept = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("kept-segments/*/counts.json")}
    assert all(kept[path.parent.name] == moment for path, moment in stored.items())
