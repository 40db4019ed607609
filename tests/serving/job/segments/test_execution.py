"""Several workers, a cluster, and workers and jobs that are killed: the rows are always those of an
undisturbed run.
"""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from serving.job.progress import Progress
from serving.job.run import Execution, run_job
from serving.spec import load_job
from tests.serving.execution_job import FRAMES, SEGMENT_S, make_place, match_command, same_rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("execution"))


@pytest.fixture(scope="module")
def straight(place: Path) -> Path:
    return run_job(load_job(place / "job.yaml"), place / "straight", execution=Execution(SEGMENT_S)).out


class Count(Progress):
    def __init__(self) -> None:
        self.frames: dict[str, int] = {}
        self.finished: list[str] = []

    def advance(self, camera: str) -> None:
        self.frames[camera] = self.frames.get(camera, 0) + 1

    def done(self, camera: str, problem: str | None) -> None:
        assert problem is None
        self.finished.append(camera)


def test_two_processes_give_the_same_rows(place: Path, straight: Path) -> None:
    rows = pq.read_table(straight / "sightings.parquet").to_pylist()
    assert [row["identity"] for row in rows] == ["anna", "bert", "unknown", "anna", "unknown"]
    assert all(row["frames"] <= row["end_frame"] - row["start_frame"] + 1 for row in rows)
    count = Count()
    out = run_job(load_job(place / "job.yaml"), place / "two", count, Execution(SEGMENT_S, workers=2)).out
    same_rows(straight, out)
    assert count.frames == {"one": FRAMES, "two": FRAMES}
    assert sorted(count.finished) == ["one", "two"]


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_rows(place: Path, straight: Path) -> None:
    count = Count()
    out = run_job(load_job(place / "job.yaml"), place / "ray", count, Execution(SEGMENT_S, ray="local")).out
    same_rows(straight, out)
    assert count.frames == {"one": FRAMES, "two": FRAMES}


def start(place: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        match_command(place, out, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def segments(work: Path) -> dict[str, int]:
    """The finished ones; what is still being written lies in a folder whose name begins with a dot."""
    return {path.parent.name: path.stat().st_mtime_ns for path in work.glob("[!.]*/counts.json")}


@pytest.mark.slow
def test_two_workers_killed_and_started_again_lose_nothing(place: Path, straight: Path) -> None:
    chance = random.Random(2)
    out, work = place / "killed", place / ".killed.work"
    for _ in range(4):
        process = start(place, out, "--workers", "2")
        before = segments(work)
        # At a random moment after another segment was finished, so that every round gets on.
        deadline = time.monotonic() + 120
        while process.poll() is None and len(segments(work)) <= len(before) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.wait()
        kept = segments(work)
        assert all(kept.get(name, stamp) == stamp for name, stamp in before.items()) or out.exists()
        if out.exists():
            break
        assert not out.exists()
    process = start(place, out, "--workers", "2")
    _, complaints = process.communicate(timeout=180)
    assert process.returncode == 0, complaints
    same_rows(straight, out)
    assert not work.exists()


@pytest.mark.slow
def test_sigterm_ends_at_once_and_leaves_what_is_finished(place: Path, straight: Path) -> None:
    out, work = place / "ended", place / ".ended.work"
    process = start(place, out)
    deadline = time.monotonic() + 120
    while not segments(work) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 143
    assert (
        complaints.strip() == "reid: stopped: what is finished is kept; the same command goes on from there"
    )
    assert segments(work)
    assert not out.exists()
    assert start(place, out).wait(timeout=180) == 0
    same_rows(straight, out)


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_job(place: Path) -> None:
    out = place / "orphans"
    process = start(place, out, "--workers", "2")
    deadline = time.monotonic() + 120
    while not segments(place / ".orphans.work") and time.monotonic() < deadline:
        time.sleep(0.02)

    def alive() -> list[int]:
        group = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                # Field 3 is the process group, field 0 the state.
                if int(fields[2]) == process.pid and fields[0] != "Z":
                    group.append(int(entry.name))
        return group

    assert len(alive()) >= 3
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive() == []


@pytest.mark.slow
def test_a_killed_workers_segment_is_taken_over(place: Path, straight: Path) -> None:
    out, work = place / "widow", place / ".widow.work"
    process = start(place, out, "--workers", "2")
    deadline = time.monotonic() + 120
    while not segments(work) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
    os.kill(workers[-1], signal.SIGKILL)
    _, complaints = process.communicate(timeout=180)
    assert process.returncode == 0, complaints
    same_rows(straight, out)


def test_a_camera_that_goes_away_half_way_fails_alone(place: Path, tmp_path: Path) -> None:
    video = tmp_path / "one.avi"
    video.write_bytes((place / "one.avi").read_bytes())
    job = yaml.safe_load((place / "job.yaml").read_text())
    job["cameras"][0]["source"], job["cameras"][1]["source"] = str(video), str(place / "two.avi")
    job["model"], job["gallery"] = str(place / "model"), str(place / "gallery.db")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))

    class Unplug(Progress):
        seen = 0

        def advance(self, camera: str) -> None:
            self.seen += 1
            if self.seen == 120:
                video.unlink()

    result = run_job(load_job(tmp_path / "job.yaml"), tmp_path / "out", Unplug(), Execution(SEGMENT_S))
    assert len(result.problems) == 1
    assert result.problems[0].startswith(f"camera one: video {video} does not exist")
    counts = json.loads((tmp_path / "out" / "job.json").read_text())["counts"]["cameras"]
    assert 0 < counts["one"]["frames"] < FRAMES
    assert counts["two"]["frames"] == FRAMES
