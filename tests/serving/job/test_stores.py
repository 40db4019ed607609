"""A job whose footage lies in a store: the same tables as from files, and what is missing said."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from serving.job.run import Execution, run_job
from serving.spec import load_job
from tests.serving.bucket import Bucket, bucket, no_secret_in
from tests.serving.execution_job import SEGMENT_S, make_place, same_rows

ROOT = Path(__file__).parents[3]


@pytest.fixture
def footage() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, bucket(patch) as one:
        yield one


def in_store(place: Path, sources: dict[str, str]) -> Path:
    """The job of a place with other sources."""
    job = yaml.safe_load((place / "job.yaml").read_text())
    for camera in job["cameras"]:
        camera["source"] = sources[camera["id"]]
    (place / "stored.yaml").write_text(yaml.safe_dump(job))
    return place / "stored.yaml"


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
